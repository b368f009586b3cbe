//! The text format of Prometheus, 0.0.4: families of samples, each with its kind and what it means.

use crate::metrics::histogram::{BOUNDS_US, Cumulated};
use std::fmt::{self, Display, Write as _};

/// What the answer calls itself.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every name begins with this.
const PREFIX: &str = "mogilefs_";

/// The kind of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Labels of a sample, in order.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// The text as it grows.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a family, to which the next samples belong. The name goes without the prefix of all.
    pub fn family(&mut self, kind: Kind, name: &str, help: &str) -> Family<'_> {
        let kind = kind.name();
        self.line(format_args!("# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}\n"));
        Family { exposition: self, name: name.to_owned() }
    }

    /// A family of one sample.
    pub fn one(&mut self, kind: Kind, name: &str, help: &str, value: impl Display) {
        self.family(kind, name, help).sample(&[], value);
    }

    pub fn into_text(self) -> String {
        self.text
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.text.write_fmt(line);
    }
}

/// A family that takes samples.
pub struct Family<'a> {
    exposition: &'a mut Exposition,
    name: String,
}

impl Family<'_> {
    pub fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.suffixed("", labels, None, value);
    }

    /// A histogram of times, told in seconds.
    pub fn times(&mut self, labels: Labels<'_>, times: &Cumulated) {
        for (bound_us, count) in BOUNDS_US.iter().zip(&times.up_to) {
            self.suffixed("_bucket", labels, Some(&Seconds(u64::from(*bound_us))), count);
        }
        self.suffixed("_bucket", labels, Some(&"+Inf"), times.count);
        self.suffixed("_sum", labels, None, Seconds(times.sum_us));
        self.suffixed("_count", labels, None, times.count);
    }

    fn suffixed(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<&dyn Display>, value: impl Display) {
        let text = &mut self.exposition.text;
        text.push_str(PREFIX);
        text.push_str(&self.name);
        text.push_str(suffix);
        if !labels.is_empty() || bound.is_some() {
            let mut separator = '{';
            for (name, value) in labels {
                text.push(separator);
                text.push_str(name);
                text.push_str("=\"");
                escape_into(value, text);
                text.push('"');
                separator = ',';
            }
            if let Some(bound) = bound {
                let _ = write!(text, "{separator}le=\"{bound}\"");
            }
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }
}

/// Microseconds, shown as seconds.
#[derive(Clone, Copy, Debug)]
pub struct Seconds(pub u64);

impl Display for Seconds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0 as f64 / 1e6)
    }
}

fn escape_into(value: &str, text: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::histogram::Histogram;

    #[test]
    fn families_are_written_as_the_format_wants_them() {
        let mut text = Exposition::default();
        text.one(Kind::Gauge, "connections", "Clients.", 3);
        text.family(Kind::Counter, "x_total", "X.").sample(&[("a", "q\"\\\n"), ("b", "")], 1);
        let expected = "# HELP mogilefs_connections Clients.\n# TYPE mogilefs_connections gauge\nmogilefs_connections 3\n\
                        # HELP mogilefs_x_total X.\n# TYPE mogilefs_x_total counter\n\
                        mogilefs_x_total{a=\"q\\\"\\\\\\n\",b=\"\"} 1\n";
        assert_eq!(text.into_text(), expected);
    }

    #[test]
    fn times_are_told_in_seconds_and_buckets_contain_each_other() {
        let histogram = Histogram::default();
        [50, 700, 20_000_000].into_iter().for_each(|time_us| histogram.add(time_us));
        let mut text = Exposition::default();
        text.family(Kind::Histogram, "t_seconds", "T.").times(&[("c", "x")], &histogram.cumulated());
        let text = text.into_text();
        for line in [
            "mogilefs_t_seconds_bucket{c=\"x\",le=\"0.0001\"} 1",
            "mogilefs_t_seconds_bucket{c=\"x\",le=\"0.001\"} 2",
            "mogilefs_t_seconds_bucket{c=\"x\",le=\"10\"} 2",
            "mogilefs_t_seconds_bucket{c=\"x\",le=\"+Inf\"} 3",
            "mogilefs_t_seconds_sum{c=\"x\"} 20.00075",
            "mogilefs_t_seconds_count{c=\"x\"} 3",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
    }
}
