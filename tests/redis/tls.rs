//! TLS and users, as the client that is passed in has them.

use std::path::Path;
use std::sync::Once;
use std::time::{Duration, Instant};
use std::{fs, thread};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use redis::{Client, ClientTlsConfig, TlsCertificates};
use warded::{RedisError, RedisLock, RedisLockBuilder, RedisServer, RedisSource};

use super::server::{Server, until};

const MS: Duration = Duration::from_millis(1);

/// Who signs, and what is signed: all in one directory, as the server wants it.
struct Papers {
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Papers {
    fn new() -> Self {
        // The crate leaves it to the program which cryptography it uses.
        static CHOSEN: Once = Once::new();
        CHOSEN.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { authority }
    }

    /// A certificate of this name, and its key.
    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, &self.authority).unwrap().pem(), key.serialize_pem())
    }

    fn write(&self, dir: &Path) {
        let (cert, key) = self.sign("127.0.0.1");
        fs::write(dir.join("ca.pem"), self.authority.pem()).unwrap();
        fs::write(dir.join("cert.pem"), cert).unwrap();
        fs::write(dir.join("key.pem"), key).unwrap();
    }

    /// A client that trusts the authority, with a certificate of its own or without.
    fn client(&self, port: u16, own: bool, query: &str) -> Client {
        let client_tls = own.then(|| {
            let (cert, key) = self.sign("client");
            ClientTlsConfig { client_cert: cert.into_bytes(), client_key: key.into_bytes() }
        });
        let root_cert = Some(self.authority.pem().into_bytes());
        let certificates = TlsCertificates { client_tls, root_cert };
        let url = format!("rediss://worker:secret@127.0.0.1:{port}/{query}");
        Client::build_with_tls(url, certificates).unwrap()
    }
}

/// A user with the rights that docs/redis.md names, and no more.
const USER: &str = "ACL SETUSER worker on >secret ~warded:* &warded:* +@connection +@scripting +@hash \
                    +@sortedset +time +pexpire +pttl +publish +subscribe +info +cluster|slots";

/// A server that speaks TLS on a second port, which it gives, and asks clients for certificates.
fn server(papers: &Papers, args: &[&str]) -> (Server, u16) {
    let mut server = Server::prepare();
    let tls_port = server.add_port();
    papers.write(server.dir());
    let path = |name: &str| server.dir().join(name).to_str().unwrap().to_owned();
    let (authority, cert, key) = (path("ca.pem"), path("cert.pem"), path("key.pem"));
    server.add(&["--tls-port", &tls_port.to_string(), "--tls-auth-clients", "yes"]);
    server.add(&["--tls-ca-cert-file", &authority]);
    server.add(&["--tls-cert-file", &cert, "--tls-key-file", &key]);
    server.add(args);
    server.run();
    server.look().run(USER);
    (server, tls_port)
}

/// Locks, waits and is woken, releases.
fn works(source: &RedisSource, server: &Server) {
    let patient = |lock: RedisLockBuilder| {
        lock.retry_delay(10_000 * MS).waiter_ttl(60_000 * MS).build().unwrap()
    };
    let lock = patient(RedisLock::builder("jobs", source.clone()));
    let held = lock.lock().unwrap();
    held.extend(1_000 * MS).unwrap();
    assert!(lock.info().unwrap().owner.is_some());
    // Another process's waiter.
    let other = patient(server.builder("jobs"));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let held = other.lock().unwrap();
            (Instant::now(), held)
        });
        until("it waits", || server.look().waiters("jobs") == 1);
        held.release().unwrap();
        let held = waiting.join().unwrap().1;
        let waiting = scope.spawn(|| {
            let held = lock.lock().unwrap();
            (Instant::now(), held)
        });
        until("it waits", || server.look().waiters("jobs") == 1);
        thread::sleep(100 * MS);
        let released = Instant::now();
        held.release().unwrap();
        let (entered, held) = waiting.join().unwrap();
        assert!(entered - released < 4_000 * MS, "it was not told: {:?}", entered - released);
        held.release().unwrap();
    });
    source.preflight().unwrap();
}

/// These need a server that was built with TLS: where it was not, run them with `--skip tls::`.
#[test]
fn tls_with_a_user_of_few_rights_does_all_that_a_plain_connection_does() {
    let papers = Papers::new();
    let (server, port) = server(&papers, &[]);
    for query in ["", "?protocol=resp3"] {
        works(&RedisSource::from(papers.client(port, true, query)), &server);
    }
}

#[test]
fn tls_reaches_the_nodes_of_a_cluster() {
    let papers = Papers::new();
    let args = ["--cluster-enabled", "yes", "--tls-cluster", "yes"];
    let (server, port) = server(&papers, &args);
    let mut add = redis::cmd("CLUSTER");
    add.arg("ADDSLOTS").arg((0..16_384).collect::<Vec<u16>>());
    add.exec(&mut server.look().0).unwrap();
    let info =
        || -> String { redis::cmd("CLUSTER").arg("INFO").query(&mut server.look().0).unwrap() };
    until("the cluster is whole", || info().contains("cluster_state:ok"));
    let source = RedisSource::from(RedisServer::cluster([papers.client(port, true, "")]));
    let held = RedisLock::new("jobs", source.clone()).unwrap().lock().unwrap();
    assert!(server.look().token("jobs").is_some());
    held.release().unwrap();
    source.preflight().unwrap();
}

#[test]
fn tls_that_cannot_be_agreed_on_is_said() {
    let papers = Papers::new();
    let (_server, port) = server(&papers, &[]);
    let hasty = |client| RedisSource::builder(client).patience(300 * MS).build().unwrap();
    let without = hasty(papers.client(port, false, ""));
    let others = hasty(Papers::new().client(port, true, ""));
    for source in [without, others] {
        let refused = RedisLock::new("jobs", source).unwrap().try_lock();
        assert!(matches!(refused, Err(RedisError::Unreachable(_))), "{refused:?}");
    }
}
