//! A SIP service that says what a test tells it to, byte for byte: for what other programs are known to get wrong.
//!
//! It takes one client over TCP. REGISTER and PUBLISH it accepts by itself, so that a test is about one thing only; lists in
//! requests and event packages other than those it offers, usually presence alone, it refuses. Subscriptions to those are
//! the test's own.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::desk::{Login, PATIENCE};

/// A running service. Dropping it closes its connections.
pub struct Scripted {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// Event packages that the test answers for.
    packages: &'static [&'static str],
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    /// The connection that the client came in by last.
    stream: Option<TcpStream>,
    /// Requests that are the test's, and answers to its own.
    inbox: VecDeque<Message>,
    notified: u32,
    closed: bool,
}

/// One message of the client.
#[derive(Clone, Debug)]
pub struct Message(String);

impl Message {
    /// The first line.
    #[must_use]
    pub fn start(&self) -> &str {
        self.0.lines().next().unwrap_or_default()
    }

    /// The status of an answer; 0 for a request.
    #[must_use]
    pub fn status(&self) -> u16 {
        let words = self.start().strip_prefix("SIP/2.0 ").unwrap_or_default();
        words.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    /// The first value of a header field, by its long name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.0.split("\r\n\r\n").next()?;
        head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn need(&self, name: &str) -> String {
        self.header(name).unwrap_or_default().to_owned()
    }

    /// An answer, with whatever header lines are given; each ends with CRLF.
    #[must_use]
    pub fn answer(&self, status: &str, headers: &str) -> String {
        let vias: String = self
            .0
            .lines()
            .filter(|line| line.starts_with("Via:"))
            .map(|line| format!("{line}\r\n"))
            .collect();
        let to = self.need("To");
        let to = if to.contains(";tag=") { to } else { format!("{to};tag=scripted") };
        format!(
            "SIP/2.0 {status}\r\n{vias}From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n{headers}Content-Length: 0\r\n\r\n",
            self.need("From"),
            self.need("Call-ID"),
            self.need("CSeq")
        )
    }

    /// The event package of a subscription, without parameters.
    #[must_use]
    pub fn package(&self) -> Option<&str> {
        self.header("Event")?.split(';').next().map(str::trim)
    }

    /// The presentity of a subscription: the URI in its To.
    #[must_use]
    pub fn presentity(&self) -> String {
        let to = self.need("To");
        to.split(['<', '>']).nth(1).unwrap_or(&to).to_owned()
    }
}

/// One subscription of the client.
#[derive(Clone, Debug)]
pub struct Subscription {
    subscribe: Message,
    local: SocketAddr,
}

impl Subscription {
    /// The SUBSCRIBE that made it.
    #[must_use]
    pub fn request(&self) -> &Message {
        &self.subscribe
    }

    /// A NOTIFY with this number, these header lines (each ends with CRLF) and this body.
    #[must_use]
    pub fn notify(&self, number: u32, headers: &str, body: &str) -> String {
        let contact = self.subscribe.need("Contact");
        let target = contact.split(['<', '>']).nth(1).unwrap_or(&contact).to_owned();
        let to = self.subscribe.need("From");
        let from = self.subscribe.need("To");
        let from = if from.contains(";tag=") { from } else { format!("{from};tag=scripted") };
        format!(
            "NOTIFY {target} SIP/2.0\r\n\
             Via: SIP/2.0/TCP {};branch=z9hG4bK-scripted-{number}-{}\r\n\
             Max-Forwards: 70\r\n\
             From: {from}\r\n\
             To: {to}\r\n\
             Call-ID: {}\r\n\
             CSeq: {number} NOTIFY\r\n\
             Contact: <sip:scripted@{};transport=tcp>\r\n\
             {headers}Content-Length: {}\r\n\r\n{body}",
            self.local,
            self.subscribe.need("CSeq").replace(' ', "-"),
            self.subscribe.need("Call-ID"),
            self.local,
            body.len(),
        )
    }
}

impl Scripted {
    /// Starts one for presence on a free port.
    ///
    /// # Errors
    /// When there is no port.
    pub fn start() -> Result<Self> {
        Self::offering(&["presence"])
    }

    /// Starts one for these event packages on a free port.
    ///
    /// # Errors
    /// When there is no port.
    pub fn offering(packages: &'static [&'static str]) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared { packages, state: Mutex::default(), news: Condvar::new() });
        let accepting = shared.clone();
        thread::spawn(move || {
            while !lock(&accepting.state).closed {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let shared = accepting.clone();
                        thread::spawn(move || serve(&shared, stream));
                    }
                    Err(_) => thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Ok(Self { addr, shared })
    }

    /// How Alice signs in.
    #[must_use]
    pub fn login(&self) -> Login {
        Login {
            user: "alice".to_owned(),
            password: "wonderland".to_owned(),
            domain: "example.test".to_owned(),
            service: format!("sip:{};transport=tcp", self.addr),
            ..Login::default()
        }
    }

    /// The next message that is the test's and that is wanted. Takes it out; others stay.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn next(&self, what: &str, wanted: impl Fn(&Message) -> bool) -> Result<Message> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = lock(&self.shared.state);
        loop {
            if let Some(at) = state.inbox.iter().position(&wanted) {
                return state.inbox.remove(at).context("it was there");
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{what} did not come within {PATIENCE:?}; these came: {:#?}", state.inbox);
            }
            state = self.shared.news.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the subscription to somebody's presence, and does not answer it.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn subscribe(&self, presentity: &str) -> Result<Subscription> {
        self.subscribe_to("presence", presentity)
    }

    fn subscribe_to(&self, package: &str, presentity: &str) -> Result<Subscription> {
        let subscribe = self.next(&format!("the subscription to {package} of {presentity}"), |message| {
            message.start().starts_with("SUBSCRIBE")
                && message.presentity() == presentity
                && message.package() == Some(package)
        })?;
        Ok(Subscription { subscribe, local: self.addr })
    }

    /// Waits for the subscription to another package of somebody, and accepts it.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub fn accept_to(&self, package: &str, presentity: &str) -> Result<Subscription> {
        let subscription = self.subscribe_to(package, presentity)?;
        self.send(&subscription.subscribe.answer("200 OK", &self.accepted()))?;
        Ok(subscription)
    }

    /// Waits for the subscription to somebody's presence, and accepts it.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub fn accept(&self, presentity: &str) -> Result<Subscription> {
        let subscription = self.subscribe(presentity)?;
        self.send(&subscription.subscribe.answer("200 OK", &self.accepted()))?;
        Ok(subscription)
    }

    /// The header lines of an answer that accepts a subscription.
    #[must_use]
    pub fn accepted(&self) -> String {
        format!("Expires: 600\r\nContact: <sip:scripted@{};transport=tcp>\r\n", self.addr)
    }

    /// Sends a NOTIFY with the next number; returns the status that it is answered with.
    ///
    /// # Errors
    /// When it is not answered in time.
    pub fn notify(&self, subscription: &Subscription, headers: &str, body: &str) -> Result<u16> {
        let number = {
            let mut state = lock(&self.shared.state);
            state.notified += 1;
            state.notified + 100
        };
        self.notify_numbered(subscription, number, headers, body)
    }

    /// As [`notify`](Self::notify) with a number of the test's own.
    ///
    /// # Errors
    /// As [`notify`](Self::notify).
    pub fn notify_numbered(
        &self,
        subscription: &Subscription,
        number: u32,
        headers: &str,
        body: &str,
    ) -> Result<u16> {
        self.send(&subscription.notify(number, headers, body))?;
        self.answered(number)
    }

    /// Waits for the answer to the NOTIFY with this number.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn answered(&self, number: u32) -> Result<u16> {
        let cseq = format!("{number} NOTIFY");
        let answer = self.next(&format!("the answer to NOTIFY {number}"), |message| {
            message.status() > 0 && message.header("CSeq") == Some(&cseq)
        })?;
        Ok(answer.status())
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When nobody is connected.
    pub fn send(&self, text: &str) -> Result<()> {
        let state = lock(&self.shared.state);
        let mut stream = state.stream.as_ref().context("nobody is connected")?;
        Ok(stream.write_all(text.as_bytes())?)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.closed = true;
        if let Some(stream) = state.stream.take() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn serve(shared: &Shared, mut stream: TcpStream) {
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
    if let Ok(copy) = stream.try_clone() {
        lock(&shared.state).stream = Some(copy);
    }
    let mut buffer = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return,
            Ok(length) => buffer.extend_from_slice(&piece[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if lock(&shared.state).closed {
                    return;
                }
            }
            Err(_) => return,
        }
        while let Some(message) = cut(&mut buffer) {
            take(shared, &mut stream, message);
        }
    }
}

/// The first whole message of the buffer; pings before it are dropped.
fn cut(buffer: &mut Vec<u8>) -> Option<Message> {
    while buffer.starts_with(b"\r\n") {
        buffer.drain(..2);
    }
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&buffer[..head]).into_owned();
    let length: usize =
        Message(text).header("Content-Length").and_then(|value| value.parse().ok()).unwrap_or(0);
    if buffer.len() < head + length {
        return None;
    }
    let bytes: Vec<u8> = buffer.drain(..head + length).collect();
    Some(Message(String::from_utf8_lossy(&bytes).into_owned()))
}

fn take(shared: &Shared, stream: &mut TcpStream, message: Message) {
    let method = message.start().split(' ').next().unwrap_or_default().to_owned();
    let expires = message.header("Expires").unwrap_or("600").to_owned();
    let answer = match &*method {
        "REGISTER" => {
            let contact = message.header("Contact").map(|value| {
                let bare = value.split(";expires=").next().unwrap_or(value);
                format!("Contact: {bare};expires={expires}\r\n")
            });
            Some(message.answer("200 OK", &contact.unwrap_or_default()))
        }
        "PUBLISH" => Some(message.answer("200 OK", &format!("SIP-ETag: one\r\nExpires: {expires}\r\n"))),
        "SUBSCRIBE" if message.package().is_none_or(|package| !shared.packages.contains(&package)) => {
            let offered = format!("Allow-Events: {}\r\n", shared.packages.join(", "));
            Some(message.answer("489 Bad Event", &offered))
        }
        "SUBSCRIBE" if message.header("Require").is_some_and(|value| value.contains("recipient-list")) => {
            Some(message.answer("420 Bad Extension", "Unsupported: recipient-list-subscribe\r\n"))
        }
        _ => None,
    };
    match answer {
        Some(answer) => drop(stream.write_all(answer.as_bytes())),
        None => {
            lock(&shared.state).inbox.push_back(message);
            shared.news.notify_all();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
