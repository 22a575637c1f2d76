//! Work that is offered, between processes: announced, heard, repriced, taken back.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{path::Path, time::Duration};

use serde_json::Value;
use tests::{
    cluster::Cluster,
    commands::{command, done, until},
};

use super::PROGRAM;

const SOON: Duration = Duration::from_secs(60);

/// What a node knows of the work that another offers.
fn offered(workers: &Value, node: &str) -> Option<Value> {
    let workers = workers.as_array()?;
    workers.iter().find(|worker| worker["node"] == node).cloned()
}

fn hears(home: &Path, wanted: impl Fn(&Value) -> bool) -> Value {
    until(home, &["peers", "workers"], wanted).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn work_is_announced_until_it_is_taken_back_also_after_a_kill() {
    let mut cluster = Cluster::followed(PROGRAM.into(), "workers", 3, 24_850, &[]).unwrap();
    cluster.start_all().unwrap();
    for node in 0..3 {
        cluster.wait_for(node, 1, SOON).await.unwrap();
    }
    let homes: Vec<_> = cluster.members.iter().map(|member| member.home.clone()).collect();
    let worker = done(&homes[2], &["id"]).unwrap()["node_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(done(&homes[2], &["worker", "status"]).unwrap()["offer"], Value::Null);

    // Without a model nothing can be trained.
    let (code, said) = command(&homes[2], &["worker", "offer", "train"]).unwrap();
    let message = said["error"]["message"].as_str().unwrap();
    assert!(code == Some(2) && message.contains("model add"), "{said}");
    done(&homes[2], &["worker", "offer", "audit", "--price", "audit=0.5 OPEN"]).unwrap();
    for home in &homes[..2] {
        let heard = hears(home, |said| offered(said, &worker).is_some());
        let line = offered(&heard, &worker).unwrap();
        assert_eq!(line["kinds"], serde_json::json!(["audit"]));
        assert_eq!(
            (&line["prices"]["audit"], &line["device"]),
            (&"0.5 OPEN".into(), &"cpu".into())
        );
        assert!(
            line["threads"].as_u64() > Some(0) && line["until_ms"].as_u64() > Some(0),
            "{line}"
        );
    }

    // Killed and started again, it offers the same; another price is news.
    cluster.kill(2);
    cluster.start(2).unwrap();
    cluster.wait_for(2, 1, SOON).await.unwrap();
    let status = done(&homes[2], &["worker", "status"]).unwrap();
    assert_eq!(status["offer"]["kinds"], serde_json::json!(["audit"]));
    done(&homes[2], &["worker", "offer", "audit", "--price", "audit=0.25 OPEN"]).unwrap();
    let repriced = |said: &Value| offered(said, &worker).is_some_and(|line| line["prices"]["audit"] == "0.25 OPEN");
    hears(&homes[0], repriced);

    done(&homes[2], &["worker", "withdraw"]).unwrap();
    for home in &homes {
        hears(home, |said| offered(said, &worker).is_none());
    }
    let sent = cluster
        .metric(2, "openledger_net_announcements_sent_total")
        .await
        .unwrap();
    assert!(sent >= 2.0, "{sent}");
}
