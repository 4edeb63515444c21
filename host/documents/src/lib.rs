//! Readers and writers of the documents that SIP/SIMPLE carries.
//!
//! Presence services, phones and gateways agree on few details of the documents they send, and some senders are
//! hostile. So a reader of this crate forgives whatever has one sensible meaning and says what it forgave, and
//! refuses whatever could cost more than the document's length: nothing is allocated past [`Limits`], entities and
//! document type declarations are refused, and every reader takes time linear in its input.
//!
//! | Module | Document |
//! |---|---|
//! | [`pidf`] | presence: PIDF (RFC 3863), data model (RFC 4479), rich presence (RFC 4480), timed status (RFC 4481), contact information (RFC 4482), capabilities (RFC 5196) |
//! | [`dialog_info`] | dialogs of a person or device (RFC 4235) |
//! | [`conference_info`] | who takes part in a conference (RFC 4575) |
//! | [`reg_info`] | bindings of an address (RFC 3680) |
//! | [`message_summary`] | waiting messages (RFC 3842) |
//! | [`composing`] | "is typing" indications (RFC 3994) |
//! | [`cpim`], [`imdn`] | message wrapper (RFC 3862), receipts (RFC 5438) |
//! | [`file_transfer`] | files at a server, to be fetched over HTTP (GSMA RCC.07) |
//! | [`html`] | text of a message that came as HTML |
//! | [`multipart`] | several documents in one body (RFC 2046, RFC 2387) |
//! | [`rlmi`] | what is known of the resources of a list (RFC 4662) |
//! | [`patch`] | operations that change a document (RFC 5261) |
//! | [`pidf_diff`] | partial presence (RFC 5262) |
//! | [`tree`] | any XML document, for editing: nothing in it is lost |
//! | [`select`] | selectors of a node in one (RFC 4825, section 6.3; RFC 5261, section 4.1) |
//! | [`resource_lists`], [`rls_services`] | contact lists, and addresses that stand for them (RFC 4826) |
//! | [`recipients`] | whom a request is for (RFC 5363, RFC 5364) |
//! | [`policy`] | who may see what: common policy (RFC 4745), presence rules (RFC 5025) |
//! | [`watcher_info`] | who watches (RFC 3858) |
//! | [`xcap`] | paths, errors, capabilities and changes of documents on a service (RFC 4825, RFC 5874) |
//!
//! No input or output, no clock.
#![forbid(unsafe_code)]

pub mod composing;
pub mod conference_info;
pub mod cpim;
pub mod dialog_info;
mod dom;
mod error;
pub mod file_transfer;
pub mod html;
pub mod imdn;
mod limits;
pub mod message_summary;
mod moment;
pub mod multipart;
pub mod patch;
pub mod pidf;
pub mod pidf_diff;
pub mod policy;
pub mod recipients;
pub mod reg_info;
pub mod resource_lists;
pub mod rlmi;
pub mod rls_services;
pub mod select;
pub mod tree;
pub mod watcher_info;
pub mod xcap;
mod xml;

pub use dom::{Foreign, ForeignAttribute};
pub use error::{DocumentError, Finding, Forgiven, Parsed};
pub use limits::Limits;
pub use moment::{InvalidMoment, Moment};
