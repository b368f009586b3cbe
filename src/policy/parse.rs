//! The text form of policies: `Name(arguments)` (replication-policies.md 1).

use super::ReplicationPolicy;

/// A text that is no policy of ours; the message is for the operator and has no line end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PolicyParseError(String);

/// Reads a policy that an operator gives: nothing may follow it.
pub fn parse(text: &str) -> Result<ReplicationPolicy, PolicyParseError> {
    match parse_front(text)? {
        (ReplicationPolicy::OnHosts(names) | ReplicationPolicy::NotOnHosts(names), _) if names.is_empty() => {
            Err(PolicyParseError("The policy needs names of hosts: OnHosts(host1,host2)".to_owned()))
        }
        (policy, rest) if rest.trim().is_empty() => Ok(policy),
        (_, rest) => Err(PolicyParseError(format!("Unexpected text after the policy: {}", rest.trim()))),
    }
}

/// Reads a stored policy as the reference does: what follows it is ignored.
pub fn parse_stored(text: &str) -> Result<ReplicationPolicy, PolicyParseError> {
    parse_front(text).map(|(policy, _rest)| policy)
}

/// The policy at the front of the text, and what follows.
fn parse_front(text: &str) -> Result<(ReplicationPolicy, &str), PolicyParseError> {
    let text = text.trim_start();
    let name_len = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':')).count();
    let (name, arguments) = text.split_at(name_len);
    let make: fn(Option<i64>) -> ReplicationPolicy =
        match name.strip_prefix("MogileFS::ReplicationPolicy::").unwrap_or(name) {
            "MultipleHosts" => ReplicationPolicy::MultipleHosts,
            "MultipleDevices" => ReplicationPolicy::MultipleDevices,
            "MultipleHostsRandom" => ReplicationPolicy::MultipleHostsRandom,
            "OnHosts" => return with_hosts(name, arguments, ReplicationPolicy::OnHosts),
            "NotOnHosts" => return with_hosts(name, arguments, ReplicationPolicy::NotOnHosts),
            "Union" | "MultipleNetworks" | "HostsPerNetwork" => {
                return Err(PolicyParseError(format!("This version does not have the policy {name}")));
            }
            "" => return Err(PolicyParseError(format!("Not a policy: {text}"))),
            _ => return Err(PolicyParseError(format!("Unknown policy {name}"))),
        };
    let (count, rest) = count_argument(name, arguments)?;
    Ok((make(count), rest))
}

/// `(`, names of hosts separated by commas, `)`.
fn with_hosts<'t>(
    name: &str,
    text: &'t str,
    make: fn(Vec<String>) -> ReplicationPolicy,
) -> Result<(ReplicationPolicy, &'t str), PolicyParseError> {
    let arguments = text.trim_start().strip_prefix('(').and_then(|inside| inside.split_once(')'));
    let (names, rest) = arguments
        .ok_or_else(|| PolicyParseError(format!("{name} takes names of hosts in parentheses: {name}(host1,host2)")))?;
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Ok((make(names), rest))
}

/// `(`, nothing or digits, `)`. Nothing and 0 leave the number to the class.
fn count_argument<'t>(name: &str, text: &'t str) -> Result<(Option<i64>, &'t str), PolicyParseError> {
    let malformed =
        || PolicyParseError(format!("{name} takes one number or nothing in parentheses: {name}(2) or {name}()"));
    let inside = text.trim_start().strip_prefix('(').ok_or_else(malformed)?;
    let (digits, rest) = inside.split_once(')').ok_or_else(malformed)?;
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
    use ReplicationPolicy::{MultipleDevices, MultipleHosts};

    /// P1–P7, P12–P15, P17.
    #[test]
    fn reads_what_the_reference_reads() {
        for (text, policy) in [
            ("MultipleHosts( 5 )", MultipleHosts(Some(5))),
            ("  MultipleHosts()", MultipleHosts(None)),
            ("MultipleHosts(0)", MultipleHosts(None)),
            ("MultipleDevices (3)", MultipleDevices(Some(3))),
            ("MogileFS::ReplicationPolicy::MultipleHosts(2)", MultipleHosts(Some(2))),
            ("MultipleHostsRandom(3)", ReplicationPolicy::MultipleHostsRandom(Some(3))),
            ("OnHosts(a.b-c, d )", ReplicationPolicy::OnHosts(vec!["a.b-c".to_owned(), "d".to_owned()])),
            ("NotOnHosts (h9)", ReplicationPolicy::NotOnHosts(vec!["h9".to_owned()])),
        ] {
            assert_eq!(parse(text), Ok(policy), "{text}");
        }
        for text in [
            "MultipleHosts",
            "MultipleHosts(a)",
            "NoSuchPolicy(2)",
            "HostsPerNetwork",
            "MultipleHosts(2,3)",
            "multiplehosts(2)",
            "MultipleHosts(-1)",
            "",
            "()",
            "MultipleHosts(2",
            "MultipleHostsRandom(a)",
            "OnHosts",
            "OnHosts()",
            "NotOnHosts(a",
            "NotOnHosts(a) b",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    /// P5: refused where it is created (defect 12), understood where it is stored.
    #[test]
    fn text_after_a_policy_is_ignored_only_where_it_is_stored() {
        assert!(parse("MultipleHosts(3)xyz").is_err());
        assert_eq!(parse_stored("MultipleHosts(3)xyz"), Ok(MultipleHosts(Some(3))));
        assert_eq!(parse_stored("OnHosts()"), Ok(ReplicationPolicy::OnHosts(Vec::new())));
    }
}
