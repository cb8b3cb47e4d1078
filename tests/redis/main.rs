//! Locks in Redis, against real servers that the tests start themselves, through a proxy that
//! breaks what lies between.
#![cfg(all(not(loom), feature = "redis"))]

mod alone;
mod cluster;
mod errors;
mod failures;
mod leading;
mod locking;
mod losing;
mod manager;
#[path = "../names/mod.rs"]
mod names;
mod outside;
mod process;
mod proxy;
mod server;
mod states;
mod sweeping;
mod tls;
mod topology;
mod waiting;

// As it was given, line by line.
#[rustfmt::skip]
#[path = "../spec/redis.rs"]
mod spec;

#[test]
fn the_specification() {
    let server = server::Server::start();
    spec::surface(server.client()).unwrap();
}
