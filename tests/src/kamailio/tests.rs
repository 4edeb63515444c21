//! What the harness promises to the tests that use it, over plain sockets: no code under test is involved.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Digest, Kamailio, Options};
use crate::certificates::Authority;

fn two_users() -> Options<'static> {
    Options { users: vec![("alice", "secret"), ("bob", "pass:word")], ..Options::default() }
}

fn register(domain: &str, from: SocketAddr, transport: &str) -> String {
    format!(
        "REGISTER sip:{domain} SIP/2.0\r\n\
         Via: SIP/2.0/{transport} {from};rport;branch=z9hG4bK{transport}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:alice@{domain}>;tag=1\r\n\
         To: <sip:alice@{domain}>\r\n\
         Call-ID: {from}-{transport}\r\n\
         CSeq: 1 REGISTER\r\n\
         Contact: <sip:alice@{from}>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// The answer to a REGISTER without credentials, over UDP.
fn challenge(kamailio: &Kamailio) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(kamailio.udp_addr()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let request = register(kamailio.domain(), socket.local_addr().unwrap(), "UDP");
    socket.send(request.as_bytes()).unwrap();
    let mut answer = [0; 2048];
    let length = socket.recv(&mut answer).unwrap();
    String::from_utf8(answer[..length].to_vec()).unwrap()
}

fn is_deaf(addr: SocketAddr) -> bool {
    TcpStream::connect(addr).is_err()
}

#[test]
fn a_registration_without_credentials_is_challenged_in_the_domain_over_udp_and_tcp() {
    let kamailio = Kamailio::start(&Options { domain: "chat.test", ..two_users() }).unwrap();
    let answer = challenge(&kamailio);
    assert!(answer.starts_with("SIP/2.0 401"), "{answer}\n{}", kamailio.log());
    assert!(answer.contains("realm=\"chat.test\""), "{answer}");

    let mut stream = TcpStream::connect(kamailio.tcp_addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let request = register("chat.test", stream.local_addr().unwrap(), "TCP");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = [0; 11];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"SIP/2.0 401");
}

#[test]
fn the_challenge_names_the_algorithm_asked_for() {
    let kamailio = Kamailio::start(&Options { digest: Digest::Sha256, ..two_users() }).unwrap();
    let answer = challenge(&kamailio);
    assert!(answer.contains("algorithm=SHA-256"), "{answer}");
}

#[test]
fn it_listens_for_tls_and_keeps_documents_when_asked_to() {
    let authority = Authority::new().unwrap();
    let options = Options {
        tls: Some(authority.identity("example.test").unwrap()),
        websocket: true,
        xcap: true,
        lists: true,
        ..two_users()
    };
    let kamailio = Kamailio::start(&options).unwrap();
    TcpStream::connect(kamailio.tls_addr()).unwrap();
    let mut stream = TcpStream::connect(kamailio.tcp_addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let request = "GET /xcap-root/xcap-caps/global/index HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401", "{}", kamailio.log());
}

#[test]
fn two_instances_run_side_by_side() {
    let first = Kamailio::start(&Options { domain: "one.test", ..two_users() }).unwrap();
    let second = Kamailio::start(&Options { domain: "two.test", ..two_users() }).unwrap();
    assert_ne!(first.udp_addr(), second.udp_addr());
    assert!(challenge(&first).contains("realm=\"one.test\""));
    assert!(challenge(&second).contains("realm=\"two.test\""));
}

#[test]
fn a_killed_instance_is_deaf_until_it_is_restarted_on_its_port() {
    let mut kamailio = Kamailio::start(&two_users()).unwrap();
    let addr = kamailio.udp_addr();
    kamailio.kill().unwrap();
    assert!(is_deaf(kamailio.tcp_addr()));
    kamailio.restart().unwrap();
    assert_eq!(kamailio.udp_addr(), addr);
    assert!(challenge(&kamailio).starts_with("SIP/2.0 401"));
}

#[test]
fn a_stopped_instance_is_deaf_until_it_is_restarted() {
    let mut kamailio = Kamailio::start(&two_users()).unwrap();
    kamailio.stop().unwrap();
    assert!(is_deaf(kamailio.tcp_addr()));
    kamailio.restart().unwrap();
    assert!(challenge(&kamailio).starts_with("SIP/2.0 401"));
}

#[test]
fn a_table_cut_short_by_a_kill_does_not_hinder_the_restart() {
    let mut kamailio = Kamailio::start(&two_users()).unwrap();
    kamailio.kill().unwrap();
    let table = kamailio.folder().join("db/silo");
    let mut rows = std::fs::read_to_string(&table).unwrap();
    rows.push_str("1:sip\\:bob@exa");
    std::fs::write(&table, rows).unwrap();
    kamailio.restart().unwrap();
    assert!(challenge(&kamailio).starts_with("SIP/2.0 401"));
}

#[test]
fn dropping_it_frees_its_port_and_folder() {
    let kamailio = Kamailio::start(&two_users()).unwrap();
    let (addr, folder) = (kamailio.tcp_addr(), kamailio.folder().to_owned());
    drop(kamailio);
    super::process::wait_until_free(addr.port()).unwrap();
    assert!(!folder.exists());
}

#[test]
fn a_failure_to_start_shows_the_log() {
    let mut kamailio = Kamailio::start(&two_users()).unwrap();
    kamailio.stop().unwrap();
    std::fs::write(kamailio.folder().join("kamailio.cfg"), "nonsense\n").unwrap();
    let error = format!("{:#}", kamailio.restart().unwrap_err());
    assert!(error.contains("parse error in config file"), "{error}");
}

/// The child of the test below: starts an instance, says where, and waits to be killed.
const CHILD: &str = "ATTACHE_TEST_KAMAILIO_CHILD";

#[test]
fn an_instance_does_not_outlive_a_killed_test_runner() {
    if std::env::var_os(CHILD).is_some() {
        let kamailio = Kamailio::start(&two_users()).unwrap();
        eprintln!("instance={}={}=", kamailio.tcp_addr(), kamailio.folder().display());
        let _ = std::io::stdin().read(&mut [0]);
        return;
    }
    let name = "an_instance_does_not_outlive_a_killed_test_runner";
    let mut runner = Command::new(std::env::current_exe().unwrap())
        .args([name, "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut stderr = runner.stderr.take().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let (addr, folder) = loop {
        let mut byte = [0];
        assert_eq!(stderr.read(&mut byte).unwrap(), 1, "{said}");
        said.push(char::from(byte[0]));
        assert!(Instant::now() < deadline, "{said}");
        if let Some((_, rest)) = said.split_once("instance=")
            && let [addr, folder, _] = rest.split('=').collect::<Vec<_>>()[..]
        {
            break (addr.parse::<SocketAddr>().unwrap(), PathBuf::from(folder));
        }
    };
    assert!(!is_deaf(addr));
    runner.kill().unwrap();
    runner.wait().unwrap();
    super::process::wait_until_free(addr.port()).unwrap();
    while folder.exists() {
        assert!(Instant::now() < deadline, "{} is still there", folder.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}
