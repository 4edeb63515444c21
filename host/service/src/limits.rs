//! What users and strangers may take.

use std::time::Duration;

use serde::Deserialize;

use crate::units;

/// `[service.limits]`: what users and strangers may take. Times are written `"90s"`, `"5m"` or `"500ms"`, sizes
/// `"64KiB"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Limits {
    /// Shortest life of a registration, publication or subscription; less is refused with 423. `"60s"`.
    #[serde(deserialize_with = "units::duration")]
    pub min_expires: Duration,
    /// Longest; more is shortened. `"1h"`.
    #[serde(deserialize_with = "units::duration")]
    pub max_expires: Duration,
    /// Registered contacts of one user; a further one replaces the one that would expire next. 10.
    pub contacts_per_user: usize,
    /// How often a client over a stream is to send a keep-alive (RFC 5626, section 4.4.1), as it is told. `"2m"`.
    #[serde(deserialize_with = "units::duration")]
    pub flow_timer: Duration,
    /// Publications of one user; a further one replaces the one that would expire next. 10.
    pub publications_per_user: usize,
    /// Largest published document. `"64KiB"`.
    #[serde(deserialize_with = "units::bytes")]
    pub publication_bytes: usize,
    /// Subscriptions of one user. 5,000.
    pub subscriptions_per_user: usize,
    /// Subscriptions of all users together. 200,000.
    pub subscriptions: usize,
    /// Users whom one user watches, in lists and alone, and others in those lists. 100,000.
    pub watched_per_user: usize,
    /// The same for all users together. 2,000,000, which takes about 100 MiB.
    pub watched: usize,
    /// Resources in one list; a longer one is refused or cut. 20,000.
    pub list_entries: usize,
    /// Resources in a list that comes with a SUBSCRIBE (RFC 5367). 1,000.
    pub request_list_entries: usize,
    /// Lists of one user. 50.
    pub lists_per_user: usize,
    /// About the largest body of a NOTIFY for a list: what does not fit comes in further ones. The first one names all
    /// resources, which takes 64 bytes and an address for each, and can be larger. `"256KiB"`.
    #[serde(deserialize_with = "units::bytes")]
    pub list_notify_bytes: usize,
    /// A presentity's watchers hear of it at most once in this time; the latest state wins. `"1s"`. RFC 3856,
    /// section 6.10 recommends `"5s"` on networks where bandwidth is dear.
    #[serde(deserialize_with = "units::duration")]
    pub notify_interval: Duration,
    /// Largest message that is passed on, without its headers. `"48KiB"`, so that headers have room beside it in the 64 KiB
    /// that a datagram, and many a client, can take.
    #[serde(deserialize_with = "units::bytes")]
    pub message_bytes: usize,
    /// Recipients of one MESSAGE to many (RFC 5365). 100.
    pub message_list_entries: usize,
    /// How long a sender waits for the recipient's devices before the message is kept for later. `"8s"`.
    #[serde(deserialize_with = "units::duration")]
    pub relay_timeout: Duration,
    /// Messages being passed on at one time, and as many other requests. 20,000.
    pub relays: usize,
    /// Those other requests of one user: calls that ring or were taken in the last minute, and whatever is said within
    /// dialogs. 2,000.
    pub relays_per_user: usize,
    /// For how long a device may ring without a sign of life before it is given up (timer C of RFC 3261): more than three
    /// minutes. `"185s"`.
    #[serde(deserialize_with = "units::duration")]
    pub ring_timeout: Duration,
    /// Calls of one user that ring at one time. 50.
    pub calls_per_user: usize,
    /// Conferences that one user has made. 20.
    pub conferences_per_user: usize,
    /// Members of one conference, those who are being called among them. 100.
    pub conference_members: usize,
    /// Devices of one user in all conferences. 40.
    pub conference_seats_per_user: usize,
    /// Members of all conferences. 4,096.
    pub conference_members_in_all: usize,
    /// How often a member is asked whether it is still there. `"5m"`.
    #[serde(deserialize_with = "units::duration")]
    pub conference_check: Duration,
    /// Largest message in a conference. `"256KiB"`.
    #[serde(deserialize_with = "units::bytes")]
    pub conference_message_bytes: usize,
    /// Bytes of messages in all conferences that are being received, or wait to be read by members. `"64MiB"`.
    #[serde(deserialize_with = "units::bytes")]
    pub conference_bytes: usize,
    /// Messages kept for one user. 200.
    pub stored_per_user: usize,
    /// Bytes of messages kept for one user. `"2MiB"`.
    #[serde(deserialize_with = "units::bytes")]
    pub stored_bytes_per_user: usize,
    /// Bytes of messages kept for all users together. `"256MiB"`.
    #[serde(deserialize_with = "units::bytes")]
    pub stored_bytes: usize,
    /// How long a message is kept. `"30d"`.
    #[serde(deserialize_with = "units::duration")]
    pub stored_for: Duration,
    /// Watchers of one user who are remembered though they gave up before the user had decided. 100.
    pub waiting_watchers: usize,
    /// For how long they are. `"7d"`.
    #[serde(deserialize_with = "units::duration")]
    pub waiting_for: Duration,
    /// Largest document that a user may keep (XCAP). `"4MiB"`.
    #[serde(deserialize_with = "units::bytes")]
    pub document_bytes: usize,
    /// Documents of one user. 32.
    pub documents_per_user: usize,
    /// Bytes of the documents of one user. `"16MiB"`.
    #[serde(deserialize_with = "units::bytes")]
    pub document_bytes_per_user: usize,
    /// Requests a second from one address, in the long run. 10,000.
    pub requests_per_source: u32,
    /// Requests from one address at once. 20,000.
    pub burst_per_source: u32,
    /// Wrong passwords for one user from one address before each further one costs a wait, which doubles. 5.
    pub free_attempts: u32,
    /// The longest such wait, and so the longest that a right password has to wait after many wrong ones. `"30s"`.
    #[serde(deserialize_with = "units::duration")]
    pub longest_wait: Duration,
    /// Addresses, and pairs of user and address, that are remembered for these two purposes. 50,000 each.
    pub remembered_sources: usize,
    /// For how long a challenge can be answered. `"5m"`.
    #[serde(deserialize_with = "units::duration")]
    pub nonce_age: Duration,
    /// TCP connections. 4,096.
    pub connections: usize,
    /// TCP connections with one address. 1,024.
    pub connections_per_source: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const HOUR: u64 = 60 * 60;
        Self {
            min_expires: Duration::from_secs(60),
            max_expires: Duration::from_secs(HOUR),
            contacts_per_user: 10,
            flow_timer: Duration::from_secs(120),
            publications_per_user: 10,
            publication_bytes: 64 * 1024,
            subscriptions_per_user: 5_000,
            subscriptions: 200_000,
            watched_per_user: 100_000,
            watched: 2_000_000,
            list_entries: 20_000,
            request_list_entries: 1_000,
            lists_per_user: 50,
            list_notify_bytes: 256 * 1024,
            notify_interval: Duration::from_secs(1),
            message_bytes: 48 * 1024,
            message_list_entries: 100,
            relay_timeout: Duration::from_secs(8),
            relays: 20_000,
            relays_per_user: 2_000,
            ring_timeout: Duration::from_secs(185),
            calls_per_user: 50,
            conferences_per_user: 20,
            conference_members: 100,
            conference_seats_per_user: 40,
            conference_members_in_all: 4_096,
            conference_check: Duration::from_secs(300),
            conference_message_bytes: 256 * 1024,
            conference_bytes: 64 * 1024 * 1024,
            stored_per_user: 200,
            stored_bytes_per_user: 2 * 1024 * 1024,
            stored_bytes: 256 * 1024 * 1024,
            stored_for: Duration::from_secs(30 * 24 * HOUR),
            waiting_watchers: 100,
            waiting_for: Duration::from_secs(7 * 24 * HOUR),
            document_bytes: 4 * 1024 * 1024,
            documents_per_user: 32,
            document_bytes_per_user: 16 * 1024 * 1024,
            requests_per_source: 10_000,
            burst_per_source: 20_000,
            free_attempts: 5,
            longest_wait: Duration::from_secs(30),
            remembered_sources: 50_000,
            nonce_age: Duration::from_secs(300),
            connections: 4_096,
            connections_per_source: 1_024,
        }
    }
}
