//! Readers and writers of the documents that SIP/SIMPLE carries: PIDF, RPID and others.
