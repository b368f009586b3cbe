//! The frame of every page, and the small ones.

use super::access::Visitor;
use crate::ids::DevId;
use maud::{DOCTYPE, Markup, html};

pub const STYLE: &str = include_str!("page.css");
pub const SCRIPT: &str = include_str!("page.js");
pub const ICON: &str = include_str!("icon.svg");

/// A page; one that is `live` is fetched again by the script.
pub fn frame(title: &str, visitor: Visitor, live: bool, main: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (title) " – MogileFS" }
                link rel="stylesheet" href="/page.css";
                link rel="icon" href="/favicon.ico" type="image/svg+xml";
                script src="/page.js" defer {}
            }
            body data-live[live] {
                a.skip href="#main" { "To the content" }
                header {
                    a.home href="/" { "MogileFS" }
                    nav aria-label="Pages" {
                        a href="/" { "Cluster" }
                        a href="/file" { "Find a file" }
                    }
                    (session(visitor))
                }
                main id="main" { (main) }
                footer {
                    span { "Tracker " (crate::tracker::VERSION) }
                    span id="live" role="status" {}
                }
            }
        }
    }
}

fn session(visitor: Visitor) -> Markup {
    match visitor {
        Visitor::ReadOnly => html! { span.session { "read-only" } },
        Visitor::MayLogIn => html! { a.session href="/login" { "Log in to act" } },
        Visitor::May => html! {
            form.session method="post" action="/logout" { button.quiet { "Log out" } }
        },
    }
}

/// A page of one sentence.
pub fn message(title: &str, text: &str) -> Markup {
    let main = html! {
        h1 { (title) }
        p { (text) }
        p { a href="/" { "To the cluster" } }
    };
    frame(title, Visitor::ReadOnly, false, &main)
}

/// The form that asks for the token.
pub fn login(visitor: Visitor, complaint: Option<&str>) -> Markup {
    let main = html! {
        h1 { "Log in" }
        @if visitor == Visitor::ReadOnly {
            p { "No token is set (" code { "web.token" } "): this page is read-only." }
        } @else {
            @if let Some(complaint) = complaint { p.note.bad role="alert" { (complaint) } }
            form.card.narrow method="post" action="/login" {
                label for="token" { "Token" }
                input id="token" name="token" type="password" autocomplete="current-password" required autofocus;
                button { "Log in" }
            }
        }
    };
    frame("Log in", visitor, false, &main)
}

/// Asks once more before a device is called dead.
pub fn confirm_dead(devid: DevId, host: &str) -> Markup {
    let main = html! {
        h1 { "Mark dev" (devid) " on " (host) " dead?" }
        p.note.bad {
            "Its copies are forgotten and made anew from others. A dead device does not come back: a disk that is put \
             in its place gets a new number. Files whose only copy is on it are lost to readers."
        }
        form.row method="post" action="/action" {
            input type="hidden" name="what" value="state";
            input type="hidden" name="state" value="dead";
            input type="hidden" name="device" value=(devid);
            input type="hidden" name="confirm" value="yes";
            button.danger { "Yes, dev" (devid) " is dead" }
            a.button.quiet href={ "/device?id=" (devid) } { "No" }
        }
    };
    frame("Confirm", Visitor::May, false, &main)
}

/// As in `1.5 TiB`.
pub fn mib(mib: i64) -> String {
    let mut value = mib as f64;
    for unit in ["MiB", "GiB", "TiB"] {
        if value.abs() < 1024.0 {
            return format!("{value:.*} {unit}", if value.abs() < 10.0 && unit != "MiB" { 1 } else { 0 });
        }
        value /= 1024.0;
    }
    format!("{value:.1} PiB")
}

/// As in `2 h 5 min`.
pub fn duration(secs: u64) -> String {
    match secs {
        0..60 => format!("{secs} s"),
        60..3600 => format!("{} min {} s", secs / 60, secs % 60),
        3600..86_400 => format!("{} h {} min", secs / 3600, secs / 60 % 60),
        _ => format!("{} d {} h", secs / 86_400, secs / 3600 % 24),
    }
}

/// Microseconds as in `1.25 s` or `0.310 ms`.
pub fn time_us(time_us: u32) -> String {
    match time_us {
        1_000_000.. => format!("{:.2} s", f64::from(time_us) / 1e6),
        10_000.. => format!("{:.0} ms", f64::from(time_us) / 1e3),
        _ => format!("{:.2} ms", f64::from(time_us) / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(
            [mib(0), mib(900), mib(1536), mib(20 * 1024), mib(3 << 20)],
            ["0 MiB", "900 MiB", "1.5 GiB", "20 GiB", "3.0 TiB"]
        );
        assert_eq!(
            [duration(59), duration(61), duration(7500), duration(90_000)],
            ["59 s", "1 min 1 s", "2 h 5 min", "1 d 1 h"]
        );
        assert_eq!([time_us(310), time_us(12_400), time_us(1_250_000)], ["0.31 ms", "12 ms", "1.25 s"]);
    }

    #[test]
    fn texts_are_escaped() {
        let page = message("<script>", "a & \"b\"").0;
        assert!(page.contains("<h1>&lt;script&gt;</h1>") && page.contains("a &amp; &quot;b&quot;"), "{page}");
    }
}
