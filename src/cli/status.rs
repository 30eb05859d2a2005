//! `assetfs status`

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{output, target};
use crate::daemon::control::{Request, ask};
use crate::daemon::places::Places;
use crate::daemon::{Failure, Status};
use crate::vfs::{Attention, Event, QueueItem};

/// Changes and problems that one look shows.
const SHOWN_MAX: usize = 20;
/// Programs that one look tells apart, those with the most requests first.
const PROGRAMS_MAX: usize = 6;
/// What came up lately that one look shows, the newest first.
const EVENTS_MAX: usize = 5;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A path in a mount, or a store [default: all mounts]
    #[arg(value_name = "PATH|STORE")]
    target: Option<String>,
    /// For programs
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    let mut mounts = Vec::new();
    for (mount, below) in target::all_or(places, args.target.as_deref())? {
        let path = Some(below).filter(|below| !below.is_empty());
        let status = ask(&mount.socket, &Request::Status { path: path.clone() })?;
        mounts.push(json!({
            "mountpoint": mount.mountpoint,
            "store": mount.store,
            "pid": mount.pid,
            "path": path,
            "status": status,
        }));
    }
    let needs_somebody = mounts.iter().any(|mount| needs_somebody(&mount["status"]));
    if args.json {
        output::object(json!({ "mounts": mounts }))?;
    } else {
        for mount in &mounts {
            let text = match mount["path"].as_str() {
                Some(path) => of_path(path, mount)?,
                None => of_mount(mount)?,
            };
            output::line(text.trim_end())?;
        }
    }
    Ok(if needs_somebody {
        ExitCode::from(Status::Failed.code())
    } else {
        ExitCode::SUCCESS
    })
}

/// Whether something waits for a person.
fn needs_somebody(status: &Value) -> bool {
    let counts = |from: &Value| ["parked", "held"].iter().any(|what| number(&from[what]) > 0);
    counts(status) || counts(&status["below"]) || status["login"]["state"] == "refused"
}

/// A whole mount, in a few lines.
fn of_mount(mount: &Value) -> Result<String, Failure> {
    let status = &mount["status"];
    let mut lines = vec![format!("{} at {}", plain(&mount["store"]), plain(&mount["mountpoint"]))];
    let mut field = |name: &str, text: String| lines.push(format!("  {name:<9} {text}"));
    field(
        "store",
        format!("{} (process {})", plain(&status["store"]), mount["pid"]),
    );
    field("changes", changes(status));
    match plain(&status["login"]["state"]) {
        "refused" => field("login", format!("refused since {}", plain(&status["login"]["since"]))),
        "accepted" => field("login", "accepted".into()),
        _ => {}
    }
    field("requests", budget(&status["budget"], &status["http"]));
    for (name, period) in [("today", "today"), ("month", "this_month")] {
        for (at, text) in used(&status["budget"][period]).into_iter().enumerate() {
            field(if at == 0 { name } else { "" }, text);
        }
    }
    field(
        "cache",
        format!(
            "{} of clean files",
            output::size(number(&status["cache"]["used_bytes"]))
        ),
    );
    if let Some(at) = status["last_listed"].as_str() {
        field("listed", format!("last at {}", to_the_second(at)));
    }
    if let Some(text) = status["last_error"]["text"].as_str() {
        let at = to_the_second(plain(&status["last_error"]["at"]));
        field("error", format!("{at} ({text})"));
    }
    let problems: Vec<Attention> = serde_json::from_value(status["problems"].clone()).map_err(Failure::new)?;
    if !problems.is_empty() {
        lines.push(format!("  {} you:", verb(problems.len())));
        lines.extend(problems.iter().take(SHOWN_MAX).map(problem));
    }
    if problems.len() > SHOWN_MAX {
        lines.push(format!("    … and {} more: assetfs queue", problems.len() - SHOWN_MAX));
    }
    let events: Vec<Event> = match &status["events"] {
        Value::Null => Vec::new(),
        events => serde_json::from_value(events.clone()).map_err(Failure::new)?,
    };
    if !events.is_empty() {
        lines.push("  lately:".into());
        lines.extend(events.iter().rev().take(EVENTS_MAX).map(event));
    }
    Ok(lines.join("\n"))
}

/// A time without the fraction of its second.
fn to_the_second(time: &str) -> String {
    match time.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => time.to_owned(),
    }
}

fn event(event: &Event) -> String {
    format!("    {}  {}: {}", event.at, place(&event.path), event.text)
}

fn verb(things: usize) -> String {
    match things {
        1 => "1 thing needs".into(),
        many => format!("{many} things need"),
    }
}

fn problem(item: &Attention) -> String {
    format!(
        "    {}\n      {}: {}\n      {}",
        place(&item.path),
        item.state,
        item.reason,
        item.way_out
    )
}

fn place(path: &str) -> &str {
    if path.is_empty() { "the store" } else { path }
}

/// What is on its way, how fast, and for how long.
fn changes(status: &Value) -> String {
    let (pending, parked, held) = (
        number(&status["pending"]),
        number(&status["parked"]),
        number(&status["held"]),
    );
    let mut parts = Vec::new();
    if pending > 0 {
        let mut text = format!(
            "{} to send, {}",
            output::count(pending as usize, "change"),
            output::size(number(&status["pending_bytes"]))
        );
        let rate = number(&status["bytes_per_second"]);
        if rate > 0 {
            text.push_str(&format!(", {}/s", output::size(rate)));
        }
        if let Some(eta) = status["eta_seconds"].as_u64() {
            text.push_str(&format!(", about {} left", span(eta)));
        }
        parts.push(text);
    }
    if parked > 0 {
        parts.push(format!("{parked} parked"));
    }
    if held > 0 {
        parts.push(format!("{held} held"));
    }
    match number(&status["local"]) {
        0 => {}
        local => parts.push(format!("{local} kept on this machine only")),
    }
    if pending + parked + held == 0 {
        parts.insert(0, "everything is in the store".into());
    }
    parts.join("; ")
}

/// Seconds as people say them.
fn span(secs: u64) -> String {
    match secs {
        0..=99 => format!("{secs} s"),
        100..=5999 => format!("{} min", secs.div_ceil(60)),
        _ => format!("{} h", secs.div_ceil(3600)),
    }
}

fn budget(budget: &Value, http: &Value) -> String {
    let mut text = format!("{} sent by this mount", number(&http["requests"]));
    let waiting = number(&budget["waiting"]);
    if waiting > 0 {
        text.push_str(&format!(", {waiting} wait for their turn"));
    }
    let paused = number(&budget["paused_secs"]);
    if paused > 0 {
        text.push_str(&format!(", the store wants a pause of {}", span(paused)));
    }
    if let Some(until) = budget["exhausted_until"].as_str() {
        text.push_str(&format!(", the allowance is used up until {until}"));
    }
    text
}

/// What all mounts of the account used in a period and what is left, by class and by program; nothing, if nothing.
fn used(period: &Value) -> Vec<String> {
    let requests = number(&period["requests"]);
    if requests == 0 {
        return Vec::new();
    }
    let mut text = output::count(requests as usize, "request");
    if let (Some(allowed), Some(left)) = (period["allowed"].as_u64(), period["left"].as_u64()) {
        let renewed = plain(&period["renewed_at"]);
        text = format!("{requests} of {allowed} requests, {left} left until {renewed}");
    }
    let mut lines = vec![text];
    for (by, shown_max) in [("classes", usize::MAX), ("programs", PROGRAMS_MAX)] {
        let mut parts: Vec<(&str, u64)> = period[by].as_object().map_or_else(Vec::new, |parts| {
            parts.iter().map(|(name, used)| (name.as_str(), number(used))).collect()
        });
        parts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let rest: u64 = parts.iter().skip(shown_max).map(|(_, used)| used).sum();
        parts.truncate(shown_max);
        let mut shown: Vec<String> = parts.iter().map(|(name, used)| format!("{name} {used}")).collect();
        shown.extend((rest > 0).then(|| format!("others {rest}")));
        lines.extend((!shown.is_empty()).then(|| shown.join(", ")));
    }
    lines
}

/// A file, or a folder with the changes in it.
fn of_path(path: &str, mount: &Value) -> Result<String, Failure> {
    let status = &mount["status"];
    let changes: Vec<QueueItem> = serde_json::from_value(status["changes"].clone()).map_err(Failure::new)?;
    let mut lines = vec![format!("{path} in {}", plain(&mount["store"]))];
    if changes.is_empty() {
        lines.push(match plain(&status["kind"]) {
            "folder" => "  everything in it is in the store".into(),
            _ => format!("  {}", state_in_words(plain(&status["state"]))),
        });
    }
    for item in changes.iter().take(SHOWN_MAX) {
        let below = item.path.trim_start_matches('/');
        let below = below
            .strip_prefix(path)
            .map_or(below, |rest| rest.trim_start_matches('/'));
        let place = if below.is_empty() { "" } else { "  " };
        lines.push(format!("  {:<10} {}{place}{below}", item.state, item.what));
        lines.extend(item.error.as_ref().map(|error| format!("             {error}")));
    }
    if changes.len() > SHOWN_MAX {
        lines.push(format!("  … and {} more: assetfs queue", changes.len() - SHOWN_MAX));
    }
    Ok(lines.join("\n"))
}

fn state_in_words(state: &str) -> &str {
    match state {
        "synced" => "as in the store",
        other => other,
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parked_and_held_changes_and_a_refused_login_need_somebody() {
        assert!(needs_somebody(&json!({"pending": 3, "parked": 1, "held": 0})));
        assert!(needs_somebody(&json!({"below": {"held": 2}})));
        assert!(needs_somebody(
            &json!({"parked": 0, "login": {"state": "refused", "since": "x"}})
        ));
        assert!(!needs_somebody(
            &json!({"pending": 3, "parked": 0, "login": {"state": "accepted"}})
        ));
    }

    #[test]
    fn a_mount_is_told_in_a_few_lines() {
        let mut mount = json!({
            "mountpoint": "/mnt/studio", "store": "studio", "pid": 7,
            "status": {
                "store": "Image Relay", "pending": 0, "parked": 0, "held": 0, "local": 0, "pending_bytes": 0,
                "problems": [], "login": {"state": "accepted"}, "budget": {"waiting": 0, "paused_secs": 0},
                "http": {"requests": 12}, "cache": {"used_bytes": 2048}, "last_listed": null, "last_error": null,
            },
        });
        let text = of_mount(&mount).unwrap();
        assert!(text.starts_with("studio at /mnt/studio\n"), "{text}");
        assert!(text.contains("changes   everything is in the store\n"), "{text}");
        let status = &mut mount["status"];
        status["pending"] = json!(2);
        status["pending_bytes"] = json!(4 << 20);
        status["bytes_per_second"] = json!(1 << 20);
        status["eta_seconds"] = json!(4);
        status["parked"] = json!(1);
        status["problems"] = json!([{
            "path": "/a.jpg", "id": 9, "state": "parked", "reason": "too large", "way_out": "`assetfs retry 9`"
        }]);
        status["events"] = json!([{"at": "2026-01-02T03:04:05Z", "path": "", "text": "80 % is used up"}]);
        let text = of_mount(&mount).unwrap();
        assert!(
            text.contains("2 changes to send, 4.0 MiB, 1.0 MiB/s, about 4 s left; 1 parked"),
            "{text}"
        );
        assert!(
            text.ends_with("\n  lately:\n    2026-01-02T03:04:05Z  the store: 80 % is used up"),
            "{text}"
        );
        assert!(
            text.contains("1 thing needs you:\n    /a.jpg\n      parked: too large\n      `assetfs retry 9`"),
            "{text}"
        );
    }

    #[test]
    fn times_are_told_to_the_second() {
        assert_eq!(to_the_second("2026-11-25T14:39:15.014528988Z"), "2026-11-25T14:39:15Z");
        assert_eq!(to_the_second("2026-11-25T14:39:15Z"), "2026-11-25T14:39:15Z");
    }

    #[test]
    fn requests_are_told_by_class_and_by_program_with_what_is_left() {
        let programs: serde_json::Map<String, Value> = (1..=8).map(|n| (format!("p{n}"), json!(n))).collect();
        let today = json!({
            "requests": 36, "allowed": 8000, "left": 7964, "renewed_at": "2026-01-03T00:00:00Z",
            "classes": {"background": 6, "interactive": 30}, "programs": programs,
        });
        assert_eq!(
            used(&today),
            [
                "36 of 8000 requests, 7964 left until 2026-01-03T00:00:00Z",
                "interactive 30, background 6",
                "p8 8, p7 7, p6 6, p5 5, p4 4, p3 3, others 3"
            ]
        );
        let free = json!({"requests": 1, "classes": {"upload": 1}, "programs": {}});
        assert_eq!(used(&free), ["1 request", "upload 1"]);
        assert!(used(&json!({"requests": 0})).is_empty());
        assert!(used(&Value::Null).is_empty());
    }

    #[test]
    fn a_folder_is_told_with_what_changes_in_it() {
        let item = |path: &str, state: &str, what: &str| {
            json!({"id": 1, "path": path, "state": state, "what": what, "bytes": 5, "sent_bytes": 0, "attempts": 0,
                   "error": null, "next_try": null})
        };
        let mount = json!({"store": "studio", "status": {"kind": "folder", "state": "synced", "changes": [
            item("/Press/a.jpg", "pending", "upload"), item("/Press/b.jpg", "held", "delete")]}});
        assert_eq!(
            of_path("Press", &mount).unwrap(),
            "Press in studio\n  pending    upload  a.jpg\n  held       delete  b.jpg"
        );
        let clean = json!({"store": "studio", "status": {"kind": "file", "state": "synced", "changes": []}});
        assert_eq!(of_path("a.jpg", &clean).unwrap(), "a.jpg in studio\n  as in the store");
    }
}
