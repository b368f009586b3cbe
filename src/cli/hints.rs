//! What may help after a refusal: names that are nearly those that were asked for, and where settings come from. Asks at
//! most one cheap question more, and never keeps the refusal itself from being told.

use super::output::Failure;
use super::session::Session;
use crate::client::{ClientError, TrackerClient, big};
use crate::protocol::args::Args as Reply;
use bstr::ByteSlice as _;

/// 1 is the same, 0 has nothing in common.
const LIKENESS_MIN: f64 = 0.7;
/// Keys beside the one that was asked for.
const NEIGHBOURS: u32 = 200;

/// The name that is most like the word, if any is enough so; of short names the only one with one letter's difference.
pub fn nearest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let wanted = word.to_lowercase();
    let names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty() && *name != word).collect();
    let likeness = |name: &str| strsim::normalized_damerau_levenshtein(&name.to_lowercase(), &wanted);
    let alike = names.iter().map(|name| (likeness(name), *name)).filter(|(likeness, _)| *likeness >= LIKENESS_MIN);
    let best = alike.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name);
    best.or_else(|| {
        let is_near = |name: &&&str| name.len() > 1 && strsim::damerau_levenshtein(&name.to_lowercase(), &wanted) == 1;
        let mut near = names.iter().filter(is_near);
        near.next().copied().filter(|_| near.next().is_none())
    })
}

/// For a tracker that could not be reached.
pub fn where_trackers_come_from() -> String {
    let source = match std::env::var("MOGILEFS_TRACKERS") {
        _ if std::env::args().any(|word| word.starts_with("--tracker")) => "--trackers was given",
        Ok(_) => "MOGILEFS_TRACKERS is set",
        Err(_) => "neither --trackers nor MOGILEFS_TRACKERS is set, so this machine was tried",
    };
    format!("{source}; is a tracker running there? (`mogilefs demo` starts a whole cluster here)")
}

/// The failure with a hint, if there is one.
pub async fn with_hint(failure: Failure, session: &mut Session<'_>) -> Failure {
    let Failure::Client(ClientError::Tracker { code, .. }) = &failure else { return failure };
    let code = code.clone();
    match hint(&code, session).await {
        Some(hint) => Failure::Hinted(Box::new(failure), hint),
        None => failure,
    }
}

async fn hint(code: &str, session: &mut Session<'_>) -> Option<String> {
    let asked = session.tracker.take_refused()?;
    let argument = |name: &str| {
        let found = asked.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.to_str_lossy().into_owned())
    };
    let domain = argument("domain").unwrap_or_default();
    let (what, word, names) = match code {
        "unreg_domain" | "domain_not_found" => ("domain", domain, domains(&mut session.tracker).await?),
        "unreg_class" | "class_not_found" => {
            ("class", argument("class")?, classes(&mut session.tracker, &domain).await?)
        }
        "unknown_host" | "host_not_found" => {
            let host = argument("host").or_else(|| argument("hostname"))?;
            ("host", host, numbered(&mut session.tracker, "get_hosts", "hosts", "host", "hostname").await?)
        }
        "no_device" | "unknown_device" | "device_not_found" => {
            let devid = argument("device").or_else(|| argument("devid"))?;
            let devids = numbered(&mut session.tracker, "get_devices", "devices", "dev", "devid").await?;
            return Some(listed(&format!("there is no device {devid}"), &devids));
        }
        "host_mismatch" => return owner(&mut session.tracker, &argument("device")?).await,
        "unknown_key" => {
            let key = argument("key").or_else(|| argument("from_key"))?;
            ("key", key.clone(), neighbours(&mut session.tracker, &domain, &key).await?)
        }
        _ => return None,
    };
    match nearest(&word, names.iter().map(String::as_str)) {
        Some(near) if big::of_info_key(near).is_some() => {
            big::of_info_key(near).map(|near| format!("did you mean the big file {near:?}?"))
        }
        Some(near) => Some(format!("did you mean the {what} {near:?}?")),
        None if what != "key" && !word.is_empty() => Some(listed(&format!("there is no {what} {word:?}"), &names)),
        None => None,
    }
}

/// Where a device really is.
async fn owner(tracker: &mut TrackerClient, devid: &str) -> Option<String> {
    let devices = tracker.request("get_devices", &[]).await.ok()?;
    let number = (1..=devices.int("devices")).find(|number| text(&devices, &format!("dev{number}_devid")) == devid)?;
    let hostid = text(&devices, &format!("dev{number}_hostid"));
    let hosts = tracker.request("get_hosts", &[]).await.ok()?;
    let number = (1..=hosts.int("hosts")).find(|number| text(&hosts, &format!("host{number}_hostid")) == hostid)?;
    Some(format!("device {devid} belongs to the host {:?}", text(&hosts, &format!("host{number}_hostname"))))
}

/// All names if they are few.
fn listed(what: &str, names: &[String]) -> String {
    match names.len() {
        0 => format!("{what}; there are none yet"),
        1..=12 => format!("{what}; there are: {}", names.join(", ")),
        count => format!("{what}; there are {count}, see the list"),
    }
}

async fn domains(tracker: &mut TrackerClient) -> Option<Vec<String>> {
    let reply = tracker.request("get_domains", &[]).await.ok()?;
    Some((1..=reply.int("domains")).map(|number| text(&reply, &format!("domain{number}"))).collect())
}

async fn classes(tracker: &mut TrackerClient, domain: &str) -> Option<Vec<String>> {
    let reply = tracker.request("get_domains", &[]).await.ok()?;
    let number = (1..=reply.int("domains")).find(|number| text(&reply, &format!("domain{number}")) == domain)?;
    let count = reply.int(&format!("domain{number}classes"));
    Some((1..=count).map(|class| text(&reply, &format!("domain{number}class{class}name"))).collect())
}

async fn numbered(
    tracker: &mut TrackerClient,
    command: &str,
    count: &str,
    item: &str,
    field: &str,
) -> Option<Vec<String>> {
    let reply = tracker.request(command, &[]).await.ok()?;
    Some((1..=reply.int(count)).map(|number| text(&reply, &format!("{item}{number}_{field}"))).collect())
}

/// Keys of the same directory, else with the same beginning.
async fn neighbours(tracker: &mut TrackerClient, domain: &str, key: &str) -> Option<Vec<String>> {
    let prefix = match key.rfind('/') {
        Some(slash) => key[..=slash].to_owned(),
        None => key.chars().take(2).collect(),
    };
    let page = tracker.list_keys(domain.as_bytes(), prefix.as_bytes(), None, NEIGHBOURS).await.ok()?;
    Some(page.keys.iter().map(ToString::to_string).collect())
}

fn text(reply: &Reply, name: &str) -> String {
    reply.get(name).map(|value| value.to_str_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_are_alike_are_named() {
        let names = ["photos", "videos", "backup"];
        assert_eq!(nearest("photo", names), Some("photos"));
        assert_eq!(nearest("PHOTSO", names), Some("photos"));
        assert_eq!(nearest("xyz", names), None);
        assert_eq!(nearest("photos", ["photos"]), None);
        assert_eq!(nearest("h11", ["h1", "h2"]), Some("h1"));
        assert_eq!(nearest("h3", ["h1", "h2"]), None);
    }

    #[test]
    fn short_lists_are_shown_whole() {
        let names = ["a".to_owned(), "b".to_owned()];
        assert_eq!(listed("there is no host \"x\"", &names), "there is no host \"x\"; there are: a, b");
        assert_eq!(listed("n", &[]), "n; there are none yet");
    }
}
