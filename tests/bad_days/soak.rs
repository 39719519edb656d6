//! A minute of twenty conversations, a third of which fail. Not run with the others: it wants the machine for itself.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::faulty::{Act, Faulty};
use super::providers::{Kind, Way};
use super::server::Viewer;
use super::sessions::{server_for, state};

const SESSIONS: usize = 20;

/// Resident memory in KiB, threads and open files.
fn usage(pid: u32) -> (usize, usize, usize) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the field is there");
        line.trim().trim_end_matches(" kB").parse().expect("it is a number")
    };
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count();
    (field("VmRSS:"), field("Threads:"), files)
}

/// Answers by turns: two that are good, and one that fails in another way each time.
fn acts() -> impl Iterator<Item = Act> {
    let ways = [Way::ResetWithin, Way::HalfAnEvent, Way::NoUtf8, Way::Status("401 Unauthorized"), Way::HtmlForJson];
    ways.into_iter().cycle().flat_map(|way| [Kind::Model.good(), Kind::Model.good(), Kind::Model.fails(way, "")])
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute for itself: `cargo nextest run --features testing --test bad_days --run-ignored only`"]
async fn twenty_conversations_with_failures_leave_memory_flat() {
    let model = Faulty::start(Kind::Model.good()).await;
    let more = json!({"server": {"max_sessions": SESSIONS + 2}});
    let mut server = server_for(&model, None, more).await;
    // Our own connections to it are not kept, so that those that are left are leaks.
    server.http = reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("it is valid");
    let pid = server.process.id().expect("it runs");
    let idle = usage(pid);
    let end = Instant::now() + Duration::from_secs(70);
    let talk = async |n: usize| {
        sleep(Duration::from_millis(n as u64 * 100)).await;
        let mut answers = 0_usize;
        let mut viewer = Viewer::join(&server, json!({"avatar": "testing-flash"})).await;
        while Instant::now() < end {
            viewer.ask("Well?").await;
            viewer.until("end", |event| matches!(event["event"].as_str(), Some("ended" | "failed"))).await;
            answers += 1;
            // Every so often somebody comes anew.
            if answers.is_multiple_of(5) {
                let session = viewer.session.clone();
                drop(viewer);
                while state(&server, &session).await.is_some() {
                    sleep(Duration::from_millis(200)).await;
                }
                viewer = Viewer::join(&server, json!({"avatar": "testing-flash"})).await;
            }
        }
        answers
    };
    let acting = async {
        for act in acts() {
            model.will(act);
            sleep(Duration::from_millis(50)).await;
        }
    };
    let watching = async {
        sleep(Duration::from_secs(25)).await;
        let early = usage(pid);
        sleep(Duration::from_secs(40)).await;
        (early, usage(pid))
    };
    let talking = async { tokio::join!(join_all((0..SESSIONS).map(talk)), watching) };
    let (answers, (early, late)) = tokio::select! {
        done = talking => done,
        () = acting => unreachable!("there is always another act"),
    };
    sleep(Duration::from_secs(8)).await;
    let after = usage(pid);
    let answers: usize = answers.iter().sum();
    println!("{answers} answers; KiB, threads, files: idle {idle:?}, 25 s {early:?}, 65 s {late:?}, after {after:?}");
    assert!(answers > 10 * SESSIONS, "{answers}");
    assert!(late.0 < early.0 + 16_384, "{early:?}, then {late:?}");
    assert!(after.1 <= idle.1 + 4 && after.2 <= idle.2 + 2, "{idle:?}, then {after:?}");
}
