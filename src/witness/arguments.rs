//! The words of the command line.

use super::{Failure, Outcome};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

const WITH_VALUE: [&str; 5] = ["--connection", "--file", "--interval", "--stale", "--from"];
const WITHOUT: [&str; 3] = ["--once", "--full", "--append"];

/// Options by name, and the file names.
pub struct Arguments {
    options: HashMap<String, String>,
    pub files: Vec<PathBuf>,
}

impl Arguments {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Outcome<Arguments> {
        let mut arguments = Arguments { options: HashMap::new(), files: Vec::new() };
        while let Some(word) = words.next() {
            if WITHOUT.contains(&word.as_str()) {
                arguments.options.insert(word, String::new());
            } else if WITH_VALUE.contains(&word.as_str()) {
                let value = words.next().ok_or_else(|| Failure::Own(format!("{word} needs a value")))?;
                arguments.options.insert(word, value);
            } else if word.starts_with('-') {
                return Err(Failure::Own(format!("unknown option {word}; see steward-witness help")));
            } else {
                arguments.files.push(word.into());
            }
        }
        Ok(arguments)
    }

    pub fn is_set(&self, option: &str) -> bool {
        self.options.contains_key(option)
    }

    pub fn optional(&self, option: &str) -> Option<&str> {
        self.options.get(option).map(String::as_str)
    }

    pub fn required(&self, option: &str) -> Outcome<&str> {
        self.optional(option).ok_or_else(|| Failure::Own(format!("{option} is missing; see steward-witness help")))
    }

    pub fn number(&self, option: &str) -> Outcome<Option<i64>> {
        let parse = |value: &str| value.parse().ok().filter(|number| *number > 0);
        let number = self.optional(option).map(|value| {
            parse(value).ok_or_else(|| Failure::Own(format!("{option} is a positive number, not \"{value}\"")))
        });
        number.transpose()
    }

    pub fn seconds(&self, option: &str) -> Outcome<Option<Duration>> {
        Ok(self.number(option)?.map(|seconds| Duration::from_secs(seconds as u64)))
    }
}
