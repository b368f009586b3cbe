//! One file: where its copies are, why, what happens next, and what happened before.

use super::access::Visitor;
use super::bytes_text::shown;
use super::html::{duration, frame};
use super::reply::Refused;
use crate::protocol::args::{Args, escape};
use bstr::{BString, ByteSlice as _};
use maud::{Markup, html};

/// Groups of a reply that are read at most.
const GROUPS_MAX: i64 = 200;
/// Deleted versions that are shown.
const DELETED_SHOWN: i64 = 20;

/// What was searched for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    pub domain: BString,
    pub key: BString,
    pub fid: BString,
}

impl Search {
    pub fn of(query: &Args) -> Self {
        let get = |name: &str| query.get(name).map(|value| value.to_owned()).unwrap_or_default();
        Self { domain: get("domain"), key: get("key"), fid: get("fid").trim().into() }
    }

    /// The arguments that name the file; `None` if nothing was searched for.
    pub fn subject(&self) -> Option<String> {
        if !self.fid.is_empty() {
            return Some(format!("fid={}", escape(&self.fid)));
        }
        (!self.key.is_empty()).then(|| format!("domain={}&key={}", escape(&self.domain), escape(&self.key)))
    }
}

/// What the tracker tells of a file.
#[derive(Clone, Debug)]
pub struct Found {
    explained: Result<Args, Refused>,
    rows: Result<Args, Refused>,
    history: Result<Args, Refused>,
    deleted: Option<Result<Args, Refused>>,
}

/// Asks about the file; refused if nothing at all is known of it.
///
/// # Errors
/// The reason why.
pub async fn look(
    subject: &str,
    search: &Search,
    ask: impl AsyncFn(Vec<u8>) -> Result<Args, Refused>,
) -> Result<Found, Refused> {
    let explained = ask(format!("explain {subject}").into_bytes()).await;
    let deleted = match search.key.is_empty() {
        true => None,
        false => {
            let (domain, key) = (escape(&search.domain), escape(&search.key));
            Some(ask(format!("list_deleted domain={domain}&prefix={key}&limit={DELETED_SHOWN}").into_bytes()).await)
        }
    };
    let was_deleted = deleted.as_ref().is_some_and(|deleted| deleted.as_ref().is_ok_and(|list| list.int("count") > 0));
    match &explained {
        Err(refused) if !was_deleted => return Err(refused.clone()),
        _ => {}
    }
    let rows = ask(format!("file_debug {subject}").into_bytes()).await;
    let history = ask(format!("fsck_history {subject}").into_bytes()).await;
    Ok(Found { explained, rows, history, deleted })
}

/// The form, and what was found.
pub fn page(search: &Search, domains: &[BString], found: Option<&Result<Found, Refused>>, visitor: Visitor) -> Markup {
    let main = html! {
        h1 { "Find a file" }
        form.card.row method="get" action="/file" role="search" {
            div {
                label for="domain" { "Domain" }
                // A name that is no text cannot be sent by a form.
                select id="domain" name="domain" {
                    @for domain in domains.iter().filter_map(|domain| domain.to_str().ok()) {
                        option value=(domain) selected[search.domain == domain] { (shown(domain.as_bytes())) }
                    }
                }
            }
            div.wide { label for="key" { "Key" } input id="key" name="key" value=[search.key.to_str().ok()] autocapitalize="none"; }
            div { label for="fid" { "or fid" } input id="fid" name="fid" inputmode="numeric" size="12" value=[search.fid.to_str().ok()]; }
            button { "Find" }
        }
        @match found {
            None => p.soft { "By domain and key, or by the number of the file." },
            Some(Err(refused)) => p.note.odd role="status" { (refused.sentence()) },
            Some(Ok(found)) => (facts(found)),
        }
    };
    frame("Find a file", visitor, false, &main)
}

fn facts(found: &Found) -> Markup {
    html! {
        @match &found.explained {
            Ok(explained) => {
                (verdict(explained, found.rows.as_ref().ok()))
                (copies(explained, found.rows.as_ref().ok()))
                (queues(explained))
                (others(explained))
            }
            Err(refused) => p.note.odd { (refused.sentence()) },
        }
        (history(&found.history))
        @if let Some(deleted) = &found.deleted { (deleted_versions(deleted)) }
    }
}

fn text(pairs: &Args, name: &str) -> String {
    pairs.get(name).map(|value| shown(value)).unwrap_or_default()
}

/// The fields of the numbered groups of a reply.
fn groups<'a>(pairs: &'a Args, count: &str, prefix: &'a str) -> impl Iterator<Item = impl Fn(&str) -> String + 'a> {
    (1..=pairs.int(count).min(GROUPS_MAX))
        .map(move |number| move |field: &str| text(pairs, &format!("{prefix}_{number}_{field}")))
}

fn class_of_verdict(verdict: &str) -> &'static str {
    match verdict {
        "satisfied" => "good",
        "lost" => "bad",
        _ => "odd",
    }
}

fn verdict(explained: &Args, rows: Option<&Args>) -> Markup {
    let verdict = text(explained, "verdict");
    html! {
        section {
            h2 { @match explained.get("key") { Some(key) => { (shown(key)) } None => { "File " (text(explained, "fid")) } } }
            p.note.(class_of_verdict(&verdict)) { b { (verdict.replace('_', " ")) } ". " (text(explained, "verdict_text")) }
            p { b { "Next: " } (text(explained, "next_text")) }
            dl {
                dt { "fid" } dd { (text(explained, "fid")) }
                @for (name, what) in [("domain", "Domain"), ("class", "Class"), ("policy", "Policy"), ("length", "Length in bytes")] {
                    @if explained.get(name).is_some() { dt { (what) } dd { (text(explained, name)) } }
                }
                @if explained.get("wanted").is_some() {
                    dt { "Copies" }
                    dd { (text(explained, "counted")) " count of " (text(explained, "wanted")) " wanted; devcount "
                        (text(explained, "devcount")) }
                }
                @if let Some(rows) = rows { dt { "Checksum" } dd { code { (text(rows, "checksum")) } } }
            }
        }
    }
}

fn copies(explained: &Args, rows: Option<&Args>) -> Markup {
    html! {
        section {
            h2 { "Copies" }
            @if explained.int("copies") == 0 { p.soft { "None." } } @else {
                div.scroll {
                    table {
                        thead { tr { @for name in ["Device", "Host", "State", "Counts", "Offered", "Why", "URL"] { th scope="col" { (name) } } } }
                        tbody {
                            @for copy in groups(explained, "copies", "copy") {
                                @let devid = copy("devid");
                                tr {
                                    th scope="row" { a href={ "/device?id=" (devid) } { "dev" (devid) } }
                                    td { (copy("host")) }
                                    td { span.tag.(if copy("state") == "readable" { "good" } else { "odd" }) { (copy("state").replace('_', " ")) } }
                                    td { (if copy("counts") == "1" { "yes" } else { "no" }) }
                                    td { (copy("offered")) }
                                    td { (copy("reason")) }
                                    td { code { (rows.map(|rows| text(rows, &format!("devpath_{devid}"))).unwrap_or_default()) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn in_secs(secs: &str) -> String {
    match secs.parse::<u64>() {
        Ok(0) => "now".to_owned(),
        Ok(secs) => format!("in {}", duration(secs)),
        Err(_) => "parked".to_owned(),
    }
}

fn queues(explained: &Args) -> Markup {
    html! {
        @if explained.int("queues") > 0 {
            section {
                h2 { "In queues" }
                div.scroll {
                    table {
                        thead { tr { @for name in ["Queue", "Due", "Failed tries", "What would be done"] { th scope="col" { (name) } } } }
                        tbody {
                            @for queue in groups(explained, "queues", "queue") {
                                tr { th scope="row" { (queue("name")) } td { (in_secs(&queue("in_secs"))) } td { (queue("failcount")) } td { (queue("text")) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn others(explained: &Args) -> Markup {
    html! {
        @if explained.int("others") > 0 {
            section {
                details {
                    summary { "Why not elsewhere: " (text(explained, "others")) " other devices"
                        @if explained.int("left_out") > 0 { " and " (text(explained, "left_out")) " further ones" } }
                    div.scroll {
                        table {
                            thead { tr { @for name in ["Device", "Host", "State", "Why"] { th scope="col" { (name) } } } }
                            tbody {
                                @for other in groups(explained, "others", "other") {
                                    @let devid = other("devid");
                                    tr {
                                        th scope="row" { a href={ "/device?id=" (devid) } { "dev" (devid) } }
                                        td { (other("host")) } td { (other("state").replace('_', " ")) } td { (other("reason")) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn history(history: &Result<Args, Refused>) -> Markup {
    html! {
        section {
            h2 { "History" }
            @match history {
                Err(refused) => p.soft { "Not known: " (refused.sentence()) },
                Ok(runs) if runs.int("runs") == 0 => p.soft { "No run of fsck is recorded." },
                Ok(runs) => div.scroll {
                    table {
                        caption { "What runs of fsck saw of it" }
                        thead { tr { @for name in ["Run", "Began", "Looked at", "Events"] { th scope="col" { (name) } } } }
                        tbody {
                            @for run in groups(runs, "runs", "run") {
                                tr {
                                    th scope="row" { (run("id")) }
                                    td { (date(&run("started"))) }
                                    td { (if run("covered") == "1" { "yes" } else { "no" }) }
                                    td { code { (run("events")) } }
                                }
                            }
                        }
                    }
                },
            }
        }
    }
}

fn deleted_versions(deleted: &Result<Args, Refused>) -> Markup {
    html! {
        @if let Ok(list) = deleted {
            @if list.int("count") > 0 {
                section {
                    h2 { "Deleted, can be brought back" }
                    div.scroll {
                        table {
                            caption { "Keys that begin so" }
                            thead { tr { @for name in ["fid", "Key", "Length", "Deleted", "Until"] { th scope="col" { (name) } } } }
                            tbody {
                                @for number in 1..=list.int("count").min(DELETED_SHOWN) {
                                    @let field = |what: &str| text(list, &format!("{what}_{number}"));
                                    tr {
                                        th scope="row" { a href={ "/file?fid=" (field("fid")) } { (field("fid")) } }
                                        td { (field("key")) } td.n { (field("length")) }
                                        td { (date(&field("deleted_at"))) } td { (date(&field("due_at"))) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A Unix time as in HTTP, which people can read too.
fn date(unix_secs: &str) -> String {
    match unix_secs.parse::<u64>() {
        Ok(secs) if secs > 0 && secs < 253_402_300_800 => {
            httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(secs))
        }
        _ => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(query: &str) -> Search {
        Search::of(&Args::decode(query.as_bytes()))
    }

    #[test]
    fn what_is_searched_cannot_bring_arguments_along() {
        assert_eq!(search("").subject(), None);
        assert_eq!(search("domain=d&key=a%26b%0Ac").subject(), Some("domain=d&key=a%26b%0Ac".to_owned()));
        assert_eq!(search("fid=+7&key=x").subject(), Some("fid=7".to_owned()));
        assert_eq!(search("fid=7%26domain%3Dx").subject(), Some("fid=7%26domain%3Dx".to_owned()));
    }

    #[test]
    fn what_the_tracker_tells_is_text() {
        let explained = Args::decode(
            b"fid=1&key=%3Cb%3E%FF&verdict=too_few&verdict_text=x&copies=1&copy_1_devid=3&copy_1_host=%3Ci%3E",
        );
        let none = Err(Refused { code: "c".to_owned(), text: "<u>".to_owned() });
        let found = Ok(Found { explained: Ok(explained), rows: none.clone(), history: none, deleted: None });
        let page = page(&search("key=%3Cb%3E"), &[BString::from("d")], Some(&found), Visitor::ReadOnly).0;
        for raw in ["<b>\\", "<i>", "<u>"] {
            assert!(!page.contains(raw), "{raw} in {page}");
        }
        assert!(page.contains("&lt;b&gt;\\xff") && page.contains("too few"), "{page}");
    }
}
