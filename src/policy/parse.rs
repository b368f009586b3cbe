//! The text form of policies: `Name(arguments)` (replication-policies.md 1).

use super::ReplicationPolicy;
use super::hosts_per_network::HostsOfZones;

/// A text that is no policy of ours; the message is for the operator and has no line end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PolicyParseError(String);

/// Policies within policies, at most.
const NESTING_MAX: usize = 8;
/// Hosts that may be asked for in one zone; as `mindevcount`.
const HOSTS_MAX: u16 = 255;

/// Reads a policy that an operator gives: nothing may follow it, and what would be without effect is refused.
pub fn parse(text: &str) -> Result<ReplicationPolicy, PolicyParseError> {
    let (policy, rest) = parse_front(text, Given::ByOperator, 0)?;
    match rest.trim() {
        "" => Ok(policy),
        rest => Err(PolicyParseError(format!("Unexpected text after the policy: {rest}"))),
    }
}

/// Reads a stored policy as the reference does: what follows it is ignored, and so is what makes no sense in it.
pub fn parse_stored(text: &str) -> Result<ReplicationPolicy, PolicyParseError> {
    parse_front(text, Given::Stored, 0).map(|(policy, _rest)| policy)
}

/// Where a text comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    ByOperator,
    Stored,
}

/// What is read, and what follows it.
type Parsed<'t, T> = Result<(T, &'t str), PolicyParseError>;

/// The policy at the front of the text.
fn parse_front(text: &str, given: Given, depth: usize) -> Parsed<'_, ReplicationPolicy> {
    let text = text.trim_start();
    let name_len = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':')).count();
    let (name, arguments) = text.split_at(name_len);
    let make: fn(Option<i64>) -> ReplicationPolicy = match name
        .strip_prefix("MogileFS::ReplicationPolicy::")
        .unwrap_or(name)
    {
        "MultipleHosts" => ReplicationPolicy::MultipleHosts,
        "MultipleDevices" => ReplicationPolicy::MultipleDevices,
        "MultipleHostsRandom" => ReplicationPolicy::MultipleHostsRandom,
        "MultipleNetworks" => ReplicationPolicy::MultipleNetworks,
        "OnHosts" => return with_hosts(name, arguments, given, ReplicationPolicy::OnHosts),
        "NotOnHosts" => return with_hosts(name, arguments, given, ReplicationPolicy::NotOnHosts),
        "HostsPerNetwork" => return hosts_per_network(name, arguments, given),
        "Union" => return union(name, arguments, given, depth),
        "" if text.is_empty() => return Err(PolicyParseError("The text ends where a policy is expected".to_owned())),
        "" => return Err(PolicyParseError(format!("Not a policy: {text}"))),
        _ => return Err(PolicyParseError(format!("Unknown policy {name}"))),
    };
    let (count, rest) = count_argument(name, arguments)?;
    Ok((make(count), rest))
}

/// `(`, policies, between them commas or not, `)`.
fn union<'t>(name: &str, text: &'t str, given: Given, depth: usize) -> Parsed<'t, ReplicationPolicy> {
    let missing = || PolicyParseError(format!("{name} takes policies in parentheses: {name}(MultipleHosts(2), ...)"));
    if depth == NESTING_MAX {
        return Err(PolicyParseError(format!("Policies are nested more than {NESTING_MAX} deep")));
    }
    let mut rest = text.trim_start().strip_prefix('(').ok_or_else(missing)?;
    let mut parts = Vec::new();
    loop {
        let (part, after) = parse_front(rest, given, depth + 1)?;
        parts.push(part);
        let after = after.trim_start();
        let after = after.strip_prefix(',').unwrap_or(after).trim_start();
        match after.strip_prefix(')') {
            Some(rest) => return Ok((ReplicationPolicy::Union(parts), rest)),
            None => rest = after,
        }
    }
}

/// `(`, `zone=count` separated by commas, `)`. A stored count that is none or 0 is no demand (Q10); the reference would
/// remove every copy in such a zone.
fn hosts_per_network<'t>(name: &str, text: &'t str, given: Given) -> Parsed<'t, ReplicationPolicy> {
    let malformed =
        || PolicyParseError(format!("{name} takes zones and numbers of hosts in parentheses: {name}(near=2,far=1)"));
    let (inside, rest) = in_parentheses(text).ok_or_else(malformed)?;
    let mut hosts = HostsOfZones::new();
    for part in inside.split(',') {
        let (zone, count) = part.split_once('=').unwrap_or((part, ""));
        let (zone, count) = (zone.trim(), count.trim());
        if given == Given::ByOperator {
            if zone.is_empty() || !count.parse().is_ok_and(|count| (1..=HOSTS_MAX).contains(&count)) {
                return Err(malformed());
            }
            if hosts.contains_key(zone) {
                return Err(PolicyParseError(format!("{name} names the zone {zone} twice")));
            }
        }
        match leading_number(count) {
            0 => hosts.remove(zone),
            count => hosts.insert(zone.to_owned(), count),
        };
    }
    Ok((ReplicationPolicy::HostsPerNetwork(hosts), rest))
}

/// The digits at the front, as the reference reads numbers; 0 if there are none.
fn leading_number(text: &str) -> u16 {
    match text.split(|c: char| !c.is_ascii_digit()).next() {
        None | Some("") => 0,
        Some(digits) => digits.parse().unwrap_or(u16::MAX),
    }
}

/// What stands up to the first `)`, and what follows it.
fn in_parentheses(text: &str) -> Option<(&str, &str)> {
    text.trim_start().strip_prefix('(')?.split_once(')')
}

/// `(`, names of hosts separated by commas, `)`.
fn with_hosts<'t>(
    name: &str,
    text: &'t str,
    given: Given,
    make: fn(Vec<String>) -> ReplicationPolicy,
) -> Parsed<'t, ReplicationPolicy> {
    let malformed = || PolicyParseError(format!("{name} takes names of hosts in parentheses: {name}(host1,host2)"));
    let (names, rest) = in_parentheses(text).ok_or_else(malformed)?;
    let names: Vec<_> = names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.is_empty() && given == Given::ByOperator {
        return Err(malformed());
    }
    Ok((make(names), rest))
}

/// `(`, nothing or digits, `)`. Nothing and 0 leave the number to the class.
fn count_argument<'t>(name: &str, text: &'t str) -> Parsed<'t, Option<i64>> {
    let malformed =
        || PolicyParseError(format!("{name} takes one number or nothing in parentheses: {name}(2) or {name}()"));
    let (digits, rest) = in_parentheses(text).ok_or_else(malformed)?;
    let digits = digits.trim();
    if digits.is_empty() {
        return Ok((None, rest));
    }
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed());
    }
    let count: i64 = digits.parse().map_err(|_| malformed())?;
    Ok(((count > 0).then_some(count), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ReplicationPolicy::{MultipleDevices, MultipleHosts, Union};

    fn hosts_of(zones: &[(&str, u16)]) -> ReplicationPolicy {
        ReplicationPolicy::HostsPerNetwork(zones.iter().map(|&(zone, count)| (zone.to_owned(), count)).collect())
    }

    /// P1–P4, P6–P17.
    #[test]
    fn reads_what_the_reference_reads() {
        for (text, policy) in [
            ("MultipleHosts( 5 )", MultipleHosts(Some(5))),
            ("  MultipleHosts()", MultipleHosts(None)),
            ("MultipleHosts(0)", MultipleHosts(None)),
            ("MultipleDevices (3)", MultipleDevices(Some(3))),
            ("MogileFS::ReplicationPolicy::MultipleHosts(2)", MultipleHosts(Some(2))),
            ("MultipleHostsRandom(3)", ReplicationPolicy::MultipleHostsRandom(Some(3))),
            ("MultipleNetworks()", ReplicationPolicy::MultipleNetworks(None)),
            ("OnHosts(a.b-c, d )", ReplicationPolicy::OnHosts(vec!["a.b-c".to_owned(), "d".to_owned()])),
            ("NotOnHosts (h9)", ReplicationPolicy::NotOnHosts(vec!["h9".to_owned()])),
            ("HostsPerNetwork(near=2,far=1)", hosts_of(&[("near", 2), ("far", 1)])),
            (" HostsPerNetwork ( near = 2 , far =1 ) ", hosts_of(&[("near", 2), ("far", 1)])),
            ("Union(MultipleHosts(2), MultipleDevices())", Union(vec![MultipleHosts(Some(2)), MultipleDevices(None)])),
            (
                "Union ( MultipleHosts ( 5 ) ,\n MultipleHosts ( 2 ), )",
                Union(vec![MultipleHosts(Some(5)), MultipleHosts(Some(2))]),
            ),
            ("Union(MultipleHosts() MultipleDevices())", Union(vec![MultipleHosts(None), MultipleDevices(None)])),
            (
                "Union(Union(HostsPerNetwork(a=1)),MultipleHosts())",
                Union(vec![Union(vec![hosts_of(&[("a", 1)])]), MultipleHosts(None)]),
            ),
        ] {
            assert_eq!(parse(text), Ok(policy.clone()), "{text}");
            assert_eq!(parse_stored(text), Ok(policy), "{text}");
        }
        for text in [
            "MultipleHosts",
            "MultipleHosts(a)",
            "NoSuchPolicy(2)",
            "HostsPerNetwork",
            "HostsPerNetwork(a=1",
            "MultipleHosts(2,3)",
            "multiplehosts(2)",
            "MultipleHosts(-1)",
            "MultipleNetworks(-1)",
            "",
            "()",
            "MultipleHosts(2",
            "MultipleHostsRandom(a)",
            "OnHosts",
            "NotOnHosts(a",
            "Union",
            "Union()",
            "Union(MultipleHosts(2)",
            "Union(MultipleHosts(2),,MultipleHosts(3))",
            "Union(MultipleHosts(2), Nonsense())",
        ] {
            assert!(parse(text).is_err(), "{text}");
            assert!(parse_stored(text).is_err(), "{text}");
        }
    }

    /// P5; defect 12 of protocol.md, Q10: refused where it is created, understood where it is stored.
    #[test]
    fn a_stored_text_may_have_parts_without_effect() {
        for (text, policy) in [
            ("MultipleHosts(3)xyz", MultipleHosts(Some(3))),
            ("OnHosts()", ReplicationPolicy::OnHosts(Vec::new())),
            ("NotOnHosts(a) b", ReplicationPolicy::NotOnHosts(vec!["a".to_owned()])),
            ("HostsPerNetwork()", hosts_of(&[])),
            ("HostsPerNetwork(a=0)", hosts_of(&[])),
            ("HostsPerNetwork(a=x,b,c=-1,d=2x)", hosts_of(&[("d", 2)])),
            ("HostsPerNetwork(a=1,a=3)", hosts_of(&[("a", 3)])),
            ("HostsPerNetwork(a=99999)", hosts_of(&[("a", u16::MAX)])),
            ("Union(OnHosts())", Union(vec![ReplicationPolicy::OnHosts(Vec::new())])),
        ] {
            assert_eq!(parse_stored(text), Ok(policy), "{text}");
            assert!(parse(text).is_err(), "{text}");
        }
    }

    /// The text comes from clients and is read by recursion.
    #[test]
    fn nesting_has_a_limit() {
        let nested = |depth| format!("{}MultipleHosts(){}", "Union(".repeat(depth), ")".repeat(depth));
        assert!(parse(&nested(NESTING_MAX)).is_ok());
        let error = parse(&nested(100_000)).expect_err("too deep");
        assert_eq!(error.to_string(), "Policies are nested more than 8 deep");
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (text, message) in [
            ("Union(MultipleHosts(2)", "The text ends where a policy is expected"),
            ("Union()", "Not a policy: )"),
            ("HostsPerNetwork(a=1,a=2)", "HostsPerNetwork names the zone a twice"),
            (
                "HostsPerNetwork(a)",
                "HostsPerNetwork takes zones and numbers of hosts in parentheses: HostsPerNetwork(near=2,far=1)",
            ),
            ("MultipleHosts(2) x", "Unexpected text after the policy: x"),
        ] {
            assert_eq!(parse(text).map_err(|error| error.to_string()), Err(message.to_owned()), "{text}");
        }
    }
}
