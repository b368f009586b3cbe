//! Command lines and configuration files as the Perl tools read them: options by their beginnings, with one hyphen or two,
//! before and after words; files of `name = value` lines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a command line says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OldOptions {
    values: BTreeMap<String, String>,
    pub words: Vec<String>,
}

/// One option: its names (the first is the one it is kept under) and what it takes.
struct Spec<'a> {
    names: Vec<&'a str>,
    takes: Takes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    /// Also as `--noname`.
    YesOrNo,
    Text,
    Number,
}

impl<'a> Spec<'a> {
    /// `gzip|z`, `verify!`, `file=s`, `count=i`.
    fn read(text: &'a str) -> Self {
        let (names, takes) = match (text.split_once('='), text.strip_suffix('!')) {
            (Some((names, "i")), _) => (names, Takes::Number),
            (Some((names, _)), _) => (names, Takes::Text),
            (None, Some(names)) => (names, Takes::YesOrNo),
            (None, None) => (text, Takes::Nothing),
        };
        Self { names: names.split('|').collect(), takes }
    }

    /// Every way to write it, and what the option is then if it takes nothing.
    fn spellings(&self) -> Vec<(String, &'static str)> {
        let mut spellings: Vec<_> = self.names.iter().map(|name| ((*name).to_owned(), "1")).collect();
        if self.takes == Takes::YesOrNo {
            let refused = self.names.iter().flat_map(|name| [format!("no{name}"), format!("no-{name}")]);
            spellings.extend(refused.map(|name| (name, "0")));
        }
        spellings
    }
}

impl OldOptions {
    /// Reads words by the options that there are. What is no option stays a word, up to and after options.
    ///
    /// # Errors
    /// A sentence on the first option that is unknown, ambiguous or without its value.
    pub fn parse(specs: &[&str], words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let specs: Vec<Spec<'_>> = specs.iter().map(|text| Spec::read(text)).collect();
        let (mut options, mut words) = (Self::default(), words.into_iter());
        while let Some(word) = words.next() {
            let Some(option) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                options.words.push(word);
                continue;
            };
            match option {
                "" if word == "--" => options.words.extend(words.by_ref()),
                "" => options.words.push(word),
                _ => options.take(&specs, option, &mut words)?,
            }
        }
        Ok(options)
    }

    fn take(
        &mut self,
        specs: &[Spec<'_>],
        option: &str,
        words: &mut impl Iterator<Item = String>,
    ) -> Result<(), String> {
        let (name, joined) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (option, None),
        };
        let (spec, flag) = find(specs, name)?;
        let value = match (spec.takes, joined) {
            (Takes::Nothing | Takes::YesOrNo, None) => flag.to_owned(),
            (Takes::Nothing | Takes::YesOrNo, Some(_)) => {
                return Err(format!("Option {name} does not take an argument"));
            }
            (_, Some(value)) => value,
            (_, None) => words.next().ok_or_else(|| format!("Option {name} requires an argument"))?,
        };
        if spec.takes == Takes::Number && value.parse::<i64>().is_err() {
            return Err(format!("Value \"{value}\" invalid for option {name} (number expected)"));
        }
        self.values.insert(spec.names[0].to_owned(), value);
        Ok(())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Perl's idea of true.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !value.is_empty() && value != "0")
    }

    pub fn number(&self, name: &str) -> Option<i64> {
        self.get(name)?.trim().parse().ok()
    }

    /// Settings of files count where the command line says nothing; of two files the first.
    pub fn fill_from(&mut self, files: &[PathBuf]) -> Result<(), String> {
        for file in files.iter().filter(|file| file.exists()) {
            let text = std::fs::read(file).map_err(|error| format!("unable to open {}: {error}", file.display()))?;
            for (name, value) in pairs(&String::from_utf8_lossy(&text)) {
                self.values.entry(name).or_insert(value);
            }
        }
        Ok(())
    }
}

fn find<'s, 'a>(specs: &'s [Spec<'a>], name: &str) -> Result<(&'s Spec<'a>, &'static str), String> {
    let wanted = name.to_lowercase();
    let spelled = |spec: &'s Spec<'a>| spec.spellings().into_iter().map(move |(text, flag)| (spec, text, flag));
    let all: Vec<_> = specs.iter().flat_map(spelled).collect();
    if let Some((spec, _, flag)) = all.iter().find(|(_, text, _)| *text == wanted) {
        return Ok((spec, flag));
    }
    let mut beginning = all.iter().filter(|(_, text, _)| text.starts_with(&wanted));
    match (beginning.next(), beginning.next()) {
        (Some((spec, _, flag)), None) => Ok((spec, flag)),
        (Some((spec, ..)), Some((other, ..))) if std::ptr::eq(*spec, *other) => Ok((spec, "1")),
        (Some(_), Some(_)) => Err(format!("Option {name} is ambiguous")),
        (None, _) => Err(format!("Unknown option: {name}")),
    }
}

/// `name = value`; a hash begins a comment.
fn pairs(text: &str) -> Vec<(String, String)> {
    let pair = |line: &str| {
        let (name, value) = line.split('#').next()?.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        (is_name && !value.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    };
    let mut pairs: Vec<(String, String)> = text.lines().filter_map(pair).collect();
    // Of a name that comes twice the first line counts.
    let mut seen = std::collections::BTreeSet::new();
    pairs.retain(|(name, _)| seen.insert(name.clone()));
    pairs
}

/// The files of mogadm and the small tools, the strongest first. As in the originals the site's file wins over the
/// account's, and both over the one that was named: a script must not suddenly talk to another cluster.
pub fn utils_files(named: Option<&str>) -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/etc/mogilefs/mogilefs.conf")];
    files.extend(home().map(|home| home.join(".mogilefs.conf")));
    files.extend(std::env::var_os("MOGUTILSCONF").map(PathBuf::from));
    files.extend(named.map(PathBuf::from));
    files
}

/// The files of mogtool, the strongest first.
pub fn mogtool_files(named: Option<&str>) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = named.map(PathBuf::from).into_iter().collect();
    files.extend(home().map(|home| home.join(".mogtool")));
    files.push(Path::new("/etc/mogilefs/mogtool.conf").to_owned());
    files
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(specs: &[&str], line: &str) -> Result<OldOptions, String> {
        OldOptions::parse(specs, line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_taken_as_perl_takes_them() {
        let specs = ["trackers=s", "verify!", "gzip|z", "count=i", "class=s"];
        let options = parse(&specs, "inject --track a,b --noverify -z - key -count=5 -- --class").expect("taken");
        assert_eq!(options.get("trackers"), Some("a,b"));
        assert!(!options.flag("verify") && options.flag("gzip"));
        assert_eq!(options.number("count"), Some(5));
        assert_eq!(options.words, ["inject", "-", "key", "--class"]);
    }

    #[test]
    fn what_cannot_be_understood_is_said() {
        let specs = ["count=i", "class=s", "conf=s"];
        for (line, error) in [
            ("--frob", "Unknown option: frob"),
            ("--c=1", "Option c is ambiguous"),
            ("--class", "Option class requires an argument"),
            ("--count=many", "Value \"many\" invalid for option count (number expected)"),
        ] {
            assert_eq!(parse(&specs, line), Err(error.to_owned()));
        }
    }

    #[test]
    fn files_fill_what_the_command_line_leaves_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let (first, second) = (directory.path().join("a"), directory.path().join("b"));
        std::fs::write(&first, "# the site\n trackers = 10.0.0.1:7001, b # two\ndomain=x\nnonsense\n")
            .expect("written");
        std::fs::write(&second, "domain = y\nclass = big\n").expect("written");
        let mut options = parse(&["class=s"], "--class=small").expect("taken");
        options.fill_from(&[first, directory.path().join("none"), second]).expect("read");
        let of = |name| options.get(name).unwrap_or_default();
        assert_eq!([of("trackers"), of("domain"), of("class")], ["10.0.0.1:7001, b", "x", "small"]);
    }
}
