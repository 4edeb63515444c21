//! Access tokens (RFC 8898) over real sockets: a service that takes them, a server that gives them out, and an application
//! that gets one whenever the service wants another.

mod common;

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use attache::{
    AccountConfig, Address, Availability, BoxFuture, Code, Error, EventKind, Host, Secret, SessionState,
    TokenNeeded, TokenSource, Transport,
};
use common::{World, address, event, signed_in};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Gives out one token at a time over HTTP.
struct Issuer {
    /// With the file that tells the service.
    folder: tempfile::TempDir,
    token: Mutex<String>,
    asked: AtomicUsize,
}

impl Issuer {
    async fn start(token: &str) -> (Arc<Self>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let at = listener.local_addr().expect("its address");
        let folder = tempfile::tempdir().expect("a folder");
        let issuer = Arc::new(Self { folder, token: Mutex::default(), asked: AtomicUsize::new(0) });
        issuer.issue(token);
        let giving = issuer.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap_or(0);
                let wanted = request[..length].starts_with(b"GET /authorize?scope=sip HTTP/1.1\r\n");
                let token =
                    if wanted { giving.token.lock().expect("not poisoned").clone() } else { String::new() };
                giving.asked.fetch_add(1, Ordering::SeqCst);
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{token}",
                    token.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (issuer, at)
    }

    /// From now on there is this token, and no other is good at the service.
    fn issue(&self, token: &str) {
        let hash: String = Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect();
        let text =
            format!("[[token]]\nuser = \"alice\"\nsha256 = \"{hash}\"\nexpires = 2120-01-01T00:00:00Z\n");
        // Complete at once: the service looks at any time.
        let draft = self.folder.path().join("draft.toml");
        fs::write(&draft, text).expect("written");
        fs::rename(draft, self.folder.path().join("tokens.toml")).expect("renamed");
        token.clone_into(&mut self.token.lock().expect("not poisoned"));
    }

    fn times_asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// What the application does when a token is needed: it asks where the service says.
#[derive(Default)]
struct Application {
    needs: Mutex<Vec<TokenNeeded>>,
}

impl TokenSource for Application {
    fn token<'a>(
        &'a self,
        _account: &'a Address,
        needed: &'a TokenNeeded,
    ) -> BoxFuture<'a, Result<Secret, Error>> {
        self.needs.lock().expect("not poisoned").push(needed.clone());
        Box::pin(async move {
            if needed.insecure {
                return Err(Error::new(Code::NotFound, "there is no encryption"));
            }
            let server = needed.authz_server.as_deref().expect("the service names a server");
            let (host, path) =
                server.strip_prefix("http://").expect("an address").split_once('/').expect("a path");
            let scope = needed.scope.as_deref().expect("the service names a scope");
            let mut stream = TcpStream::connect(host).await.expect("connected");
            let request = format!("GET /{path}?scope={scope} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("asked");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("answered");
            let (_, token) = answer.split_once("\r\n\r\n").expect("a body");
            Ok(Secret::new(token))
        })
    }
}

/// A service of which Alice knows no password, with the file of its tokens.
async fn world(token: &str) -> (World, Arc<Issuer>) {
    let (issuer, at) = Issuer::start(token).await;
    let file = issuer.folder.path().join("tokens.toml");
    let more = format!(
        "[service.tokens]\nauthz-server = \"http://{at}/authorize\"\nscope = \"sip\"\nfile = '{}'\n",
        file.display()
    );
    (World::with("127.0.0.1", 2120, &more), issuer)
}

async fn host(world: &World) -> (Host, Arc<Application>) {
    let application = Arc::new(Application::default());
    let mut config = world.host_config();
    config.tokens = Some(application.clone());
    (Host::start(config).await.expect("the host starts"), application)
}

fn with_token(world: &World, transport: Transport, token: Option<&str>) -> AccountConfig {
    let mut account = AccountConfig::with_token(address("sip:alice@example.com"), token.map(Secret::new))
        .service(world.uri(transport));
    account.sign_in = false;
    account
}

async fn tokens_come_and_go(transport: Transport) {
    let (world, issuer) = world("the-first").await;
    let (host, application) = host(&world).await;
    let alice = signed_in(&host, with_token(&world, transport, None)).await;
    let bob = signed_in(&host, world.account("bob", "builder", Transport::Tls)).await;
    alice.deliver(bob.address(), "hello").await.expect("taken");
    let view = alice.view();
    bob.deliver(alice.address(), "hello yourself").await.expect("taken");
    event(view, |kind| matches!(kind, EventKind::MessageReceived(_)).then_some(())).await;

    // It is revoked. Whatever comes next is done all the same, with another one.
    let before = issuer.times_asked();
    issuer.issue("the-second");
    let mut session = alice.view().changes;
    let renewed = async {
        while issuer.times_asked() == before {
            alice.deliver(bob.address(), "a word").await.expect("taken, with whichever is good");
            // The service looks at its file once in a while.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(common::PATIENCE, renewed).await.expect("in time");
    alice.publish(Availability::Away, "").await.expect("taken");
    let last = alice.snapshot().seq;
    while let Some(attache::Change::Event(change)) = session.next().await {
        assert!(!matches!(change.kind, EventKind::SessionChanged { .. }), "the session went on: {change:?}");
        if change.seq >= last {
            break;
        }
    }
    assert_eq!(alice.snapshot().session, SessionState::SignedIn);
    let needs = application.needs.lock().expect("not poisoned").clone();
    assert!(needs.iter().all(|needed| !needed.insecure && &*needed.realm == "example.com"), "{needs:?}");
    assert!(needs[0].error.is_none(), "none was sent yet: {needs:?}");
    let refused = needs.last().and_then(|needed| needed.error.as_deref());
    assert_eq!(refused, Some("invalid_token"), "{needs:?}");
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_got_where_the_service_says_and_again_when_it_is_revoked() {
    tokens_come_and_go(Transport::Tls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_come_and_go_over_secure_websocket() {
    tokens_come_and_go(Transport::Wss).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_does_not_leave_over_a_connection_without_encryption() {
    let (world, issuer) = world("for-nobodys-eyes").await;
    let listens = world.service.local_addrs().iter();
    let (_, service) = *listens.clone().find(|(it, _)| *it == Transport::Tcp).expect("it listens so");
    // Somebody on the way who writes down what goes to the service.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let at = listener.local_addr().expect("its address");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hearing = heard.clone();
    tokio::spawn(async move {
        while let Ok((inside, _)) = listener.accept().await {
            let hearing = hearing.clone();
            tokio::spawn(async move {
                let outside = TcpStream::connect(service).await.expect("connected");
                let (mut from_client, mut to_client) = inside.into_split();
                let (mut from_service, mut to_service) = outside.into_split();
                let back =
                    tokio::spawn(async move { tokio::io::copy(&mut from_service, &mut to_client).await });
                let mut piece = vec![0; 16 * 1024];
                while let Ok(length @ 1..) = from_client.read(&mut piece).await {
                    hearing.lock().expect("not poisoned").extend_from_slice(&piece[..length]);
                    if to_service.write_all(&piece[..length]).await.is_err() {
                        break;
                    }
                }
                back.abort();
            });
        }
    });
    let (host, application) = host(&world).await;
    let mut account = with_token(&world, Transport::Tcp, Some("for-nobodys-eyes"));
    account.service = Some(format!("sip:{at};transport=tcp"));
    let alice = host.add_account(account).await.expect("an account");
    alice.sign_in().await.expect_err("the service asks for no token where others read along");
    host.shutdown().await;
    let heard = String::from_utf8_lossy(&heard.lock().expect("not poisoned")).into_owned();
    assert!(heard.contains("REGISTER sip:example.com"), "{heard}");
    assert!(!heard.contains("for-nobodys-eyes"));
    assert!(application.needs.lock().expect("not poisoned").is_empty());
    assert_eq!(issuer.times_asked(), 0);
}
