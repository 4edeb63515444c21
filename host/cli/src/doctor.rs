//! `attache doctor`: what a service can do for an account, what is in the way, and what to change.

use std::{fmt::Write, path::Path, time::Duration};

use attache::{
    AccountConfig, Address, CertificateSummary, Destination, Timestamp,
    doctor::{Examination, Finding, Level, examine},
};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{Failure, json, text};

/// What `attache doctor --help` says at its end.
pub(crate) const HELP: &str = "\
Each account signs in for a moment, publishes nothing, and takes no messages, beside `attache run` or without it. The exit
code is 0 when nothing is in the way, 1 when something is, 2 when the command line is wrong, and 3 when the
configuration file is.

With --json, one object is printed: {\"error\": …} when the examination cannot begin, or {\"accounts\": […]}, each with
  account, ok, session, reason   as in the events of `run`
  findings      level (fine, note, problem), topic (lookup, transport, certificate, clock, registration,
                service, publication, watching, contacts, privacy), sentence, advice, key
  lookups       host, port, transport, targets or error
  flows, failures                transport, remote, reason
  certificates  transport, remote, subject, issuer, names, not-before, not-after, version, trouble
  report        as the command `report` of `run` prints it";

pub(crate) async fn run(
    path: &Path,
    account: Option<&str>,
    as_json: bool,
    patience: u64,
) -> Result<(), Failure> {
    let outcome = look(path, account, as_json, patience).await;
    if as_json {
        // Whoever reads the output gets an object in any case.
        let error = match &outcome {
            Err(Failure::Configuration(problem) | Failure::Usage(problem)) => problem.clone(),
            Err(Failure::Failed(error)) => format!("{error:#}"),
            Ok(()) | Err(Failure::Problems) => return outcome,
        };
        crate::print(&format!("{}\n", json!({ "error": error })))?;
    }
    outcome
}

async fn look(path: &Path, account: Option<&str>, as_json: bool, patience: u64) -> Result<(), Failure> {
    let config = crate::read(path)?;
    let wanted =
        account.map(Address::parse).transpose().map_err(|error| Failure::Usage(error.to_string()))?;
    let accounts: Vec<&AccountConfig> = config
        .accounts
        .iter()
        .filter(|account| wanted.as_ref().is_none_or(|wanted| account.address == *wanted))
        .collect();
    if accounts.is_empty() {
        return Err(Failure::Usage(match wanted {
            Some(wanted) => format!("{wanted} is no account of {}", path.display()),
            None => format!("{} has no [[account]]", path.display()),
        }));
    }
    let patience = Duration::from_secs(patience);
    let examined = join_all(accounts.into_iter().map(|account| examine(&config, account, patience))).await;
    let examined = examined.into_iter().collect::<Result<Vec<_>, _>>()?;
    if as_json {
        let accounts: Vec<Value> = examined.iter().map(value).collect();
        crate::print(&format!("{}\n", json!({ "accounts": accounts })))?;
    } else {
        let words: Vec<String> = examined.iter().map(words).collect();
        crate::print(&words.join("\n"))?;
    }
    if examined.iter().any(Examination::has_problems) { Err(Failure::Problems) } else { Ok(()) }
}

fn words(examination: &Examination) -> String {
    let mut out = format!("{}\n", examination.account);
    let mut topic = None;
    for finding in &examination.findings {
        if topic != Some(finding.topic) {
            topic = Some(finding.topic);
            let _ = writeln!(out, "  {}", finding.topic.name());
        }
        let mark = match finding.level {
            Level::Fine => "ok  ",
            Level::Note => "note",
            Level::Problem => "!!  ",
        };
        let _ = writeln!(out, "    {mark} {}", text::safe(&finding.sentence));
        if !finding.advice.is_empty() {
            let _ = writeln!(out, "         → {}", text::safe(&finding.advice));
        }
    }
    let problems = examination.findings.iter().filter(|finding| finding.level == Level::Problem).count();
    let _ = match problems {
        0 => writeln!(out, "  nothing is in the way"),
        1 => writeln!(out, "  one problem"),
        many => writeln!(out, "  {many} problems"),
    };
    out
}

fn value(examination: &Examination) -> Value {
    let lookups: Vec<Value> = examination
        .connection
        .lookups
        .iter()
        .map(|lookup| {
            let mut value = json!({
                "host": lookup.host,
                "port": lookup.port,
                "transport": lookup.transport.map(attache::Transport::uri_name),
            });
            match &lookup.answer {
                Some(Ok(targets)) => value["targets"] = targets.iter().map(place).collect(),
                Some(Err(error)) => value["error"] = json!(error),
                None => value["error"] = Value::Null,
            }
            value
        })
        .collect();
    let failures: Vec<Value> = examination
        .connection
        .failures
        .iter()
        .map(|failure| {
            let mut value = place(&failure.destination);
            value["reason"] = json!(failure.reason);
            value["at"] = json!(Timestamp::from(failure.at).to_string());
            value
        })
        .collect();
    let certificates: Vec<Value> = examination
        .certificates
        .iter()
        .map(|shown| {
            let mut value = place(&shown.destination);
            if let (Value::Object(value), Some(Value::Object(more))) =
                (&mut value, shown.certificate.as_ref().map(certificate))
            {
                value.extend(more);
            }
            value["version"] = json!(shown.version);
            value["trouble"] = json!(shown.trouble);
            value
        })
        .collect();
    json!({
        "account": examination.account.as_str(),
        "ok": !examination.has_problems(),
        "session": examination.session.name(),
        "reason": examination.reason.as_ref().map(json::failure),
        "findings": examination.findings.iter().map(finding).collect::<Vec<_>>(),
        "lookups": lookups,
        "flows": examination.connection.flows.iter().map(|flow| place(&flow.destination)).collect::<Vec<_>>(),
        "failures": failures,
        "certificates": certificates,
        "report": json::report(&examination.report),
    })
}

fn finding(finding: &Finding) -> Value {
    json!({
        "level": finding.level.name(),
        "topic": finding.topic.name(),
        "sentence": finding.sentence,
        "advice": finding.advice,
        "key": finding.key,
    })
}

fn place(destination: &Destination) -> Value {
    json!({ "transport": destination.transport.uri_name(), "remote": destination.remote.to_string() })
}

fn certificate(certificate: &CertificateSummary) -> Value {
    json!({
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "names": certificate.names(),
        "not-before": Timestamp::from(certificate.not_before).to_string(),
        "not-after": Timestamp::from(certificate.not_after).to_string(),
    })
}
