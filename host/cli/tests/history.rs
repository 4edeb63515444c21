//! `attache history`, on an archive that the test writes.

mod common;

use std::{path::Path, process::Command};

use anyhow::Result;
use attache::{Address, ArchiveEntry, ConversationId, Direction, MessageId, Timestamp};
use attache_tests::attache_store::Store;
use common::{config, program};

/// A folder with an archive of so many messages, the first one the oldest.
async fn archive(folder: &Path, messages: u64) -> Result<std::path::PathBuf> {
    let file = config(folder, "alice", "wonderland", "sip:127.0.0.1:5060", "")?;
    let store = Store::open(folder.join("alice"))?;
    let alice = Address::parse("sip:alice@example.test")?.account_id();
    let peer = Address::parse("sip:bob@example.test")?;
    for number in 1..=messages {
        let entry = ArchiveEntry {
            message: MessageId(number),
            conversation: ConversationId(1),
            // Several of each millisecond: pages must not depend on time alone.
            at: Timestamp::from_millis(1_700_000_000_000 + number / 7),
            direction: Direction::Incoming,
            peer: peer.clone(),
            others: Default::default(),
            content: format!("message {number}").as_str().into(),
            automatic: false,
        };
        attache_tests::attache_messenger::storage::Storage::archive(&store, alice, entry).await?;
    }
    store.close().await;
    Ok(file)
}

fn lines(arguments: &[&str], file: &Path) -> Result<Vec<String>> {
    let output = Command::new(program()).arg("history").args(arguments).arg("--config").arg(file).output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

#[tokio::test]
async fn an_export_has_every_message_once_and_in_order() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // Two whole pages: the end must be found all the same.
    let file = archive(folder.path(), 1000).await?;
    let found = lines(&["export"], &file)?;
    assert_eq!(found.len(), 1000);
    for (line, number) in found.iter().zip(1..) {
        assert!(line.ends_with(&format!(": message {number}")), "{number}: {line}");
    }
    Ok(())
}

#[tokio::test]
async fn a_list_has_the_latest_and_a_search_what_matches() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = archive(folder.path(), 60).await?;
    let latest = lines(&["list", "--limit", "2"], &file)?;
    assert_eq!(latest.len(), 2);
    assert!(latest[1].ends_with("message 60"), "{latest:?}");
    assert_eq!(lines(&["search", "message", "17"], &file)?.len(), 1);
    assert_eq!(lines(&["search", "--peer", "sip:carol@example.test", "message"], &file)?.len(), 0);
    Ok(())
}

#[tokio::test]
async fn a_mistyped_time_leaves_an_earlier_export_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = archive(folder.path(), 3).await?;
    let export = folder.path().join("export.txt");
    let path = export.display().to_string();
    lines(&["export", "--output", &path], &file)?;
    let before = std::fs::read_to_string(&export)?;
    let output = Command::new(program())
        .args(["history", "export", "--output", &path, "--since", "yesterday", "--config"])
        .arg(&file)
        .output()?;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("yesterday"));
    assert_eq!(std::fs::read_to_string(&export)?, before);
    Ok(())
}

#[tokio::test]
async fn an_export_is_one_document_in_every_format() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = archive(folder.path(), 1200).await?;
    let json = lines(&["export", "--format", "json"], &file)?.join("\n");
    let read: Vec<serde_json::Value> = serde_json::from_str(&json)?;
    assert_eq!((read.len(), &read[1199]["text"]), (1200, &serde_json::json!("message 1200")));
    let html = lines(&["export", "--format", "html", "--conversation", "1"], &file)?.join("\n");
    assert_eq!(html.matches("<article").count(), 1200);
    assert!(html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>"));
    for nothing in [["--conversation", "2"], ["--direction", "outgoing"], ["--attachment", "true"]] {
        assert_eq!(lines(&["export", nothing[0], nothing[1]], &file)?.len(), 0, "{nothing:?}");
    }
    Ok(())
}
