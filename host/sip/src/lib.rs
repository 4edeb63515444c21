//! Sans-IO SIP: wire codec, messages, transactions, digest and usages.
