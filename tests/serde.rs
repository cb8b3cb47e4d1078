//! What is known about a lock goes through a serialiser and comes back the same.
#![cfg(not(loom))]

use std::time::{Duration, SystemTime};

use serde_json::json;
use warded::LockInfo;

fn round_trip(info: &LockInfo) {
    let text = serde_json::to_string(info).unwrap();
    let back: LockInfo = serde_json::from_str(&text).unwrap();
    assert_eq!(&back, info, "{text}");
}

#[test]
fn a_lock_that_is_held() {
    let mut info = LockInfo::unheld("jobs");
    info.owner = Some("worker 7".to_owned());
    info.acquired_at = Some(SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789));
    info.ttl = Some(Duration::from_millis(30_000));
    round_trip(&info);
    // The fields are the specification's.
    let value = serde_json::to_value(&info).unwrap();
    assert_eq!(value["name"], "jobs");
    assert_eq!(value["owner"], "worker 7");
    assert_eq!(value["ttl"], json!({ "secs": 30, "nanos": 0 }));
    assert_eq!(value.as_object().unwrap().len(), 4);
}

#[test]
fn a_lock_that_nobody_holds() {
    let info = LockInfo::unheld("names \"of\" every\nkind, äöü");
    round_trip(&info);
    let value = serde_json::to_value(&info).unwrap();
    assert!(value["owner"].is_null() && value["acquired_at"].is_null() && value["ttl"].is_null());
}
