//! Approval by relation: a row names who may sign, by their relation to the applicant. Rows are ANDed, the elements of
//! a row are ORed, and one person fills at most one place. Everything here is a fact about names; who has said what, and
//! whether that still counts, belongs to `crate::operation`.

use super::tier::Tier;
use std::fmt;

/// One element of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// The applicant's supervisor.
    Supervisor,
    /// Somebody of the applicant's department.
    Department,
    /// Whoever holds this post.
    Post(String),
    /// This person.
    Person(String),
}

/// A person as far as relations go.
#[derive(Clone, Copy, Debug)]
pub struct Kin<'a> {
    pub name: &'a str,
    pub post: &'a str,
    pub department: Option<&'a str>,
    pub supervisor: Option<&'a str>,
}

impl Who {
    /// `supervisor`, `department`, `post:<post>` or `person:<name>`.
    pub fn parse(text: &str) -> Option<Who> {
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        match text.split_once(':') {
            None if text == "supervisor" => Some(Who::Supervisor),
            None if text == "department" => Some(Who::Department),
            Some(("post", post)) => named(post).map(Who::Post),
            Some(("person", name)) => named(name).map(Who::Person),
            _ => None,
        }
    }

    /// Whether somebody is meant by it. Never the applicant.
    pub fn is(&self, signer: Kin<'_>, applicant: Kin<'_>) -> bool {
        signer.name != applicant.name
            && match self {
                Who::Supervisor => applicant.supervisor == Some(signer.name),
                Who::Department => signer.department.is_some() && signer.department == applicant.department,
                Who::Post(post) => signer.post == post,
                Who::Person(name) => signer.name == name,
            }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Supervisor => out.write_str("supervisor"),
            Who::Department => out.write_str("department"),
            Who::Post(post) => write!(out, "post:{post}"),
            Who::Person(name) => write!(out, "person:{name}"),
        }
    }
}

/// One row: somebody of `who` must approve operations of this tier and of higher ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub tier: Tier,
    /// Only those that a rule of this name matches.
    pub rule: Option<String>,
    pub step: i32,
    pub who: Vec<Who>,
    /// What the signer's post must give.
    pub capability: String,
}

impl Row {
    /// Whether it holds for an operation of this tier that these rules match.
    pub fn concerns(&self, tier: Tier, rules: &[String]) -> bool {
        self.tier <= tier && self.rule.as_ref().is_none_or(|rule| rules.contains(rule))
    }

    fn same_place(&self, other: &Row) -> bool {
        (self.tier, &self.rule, self.step) == (other.tier, &other.rule, other.step)
    }

    /// Whoever may sign this may sign the other.
    fn at_least_as_strict_as(&self, other: &Row) -> bool {
        self.capability == other.capability && self.who.iter().all(|who| other.who.contains(who))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who: Vec<String> = self.who.iter().map(Who::to_string).collect();
        write!(out, "{} {}", self.tier.name(), self.step)?;
        if let Some(rule) = &self.rule {
            write!(out, " of rule \"{rule}\"")?;
        }
        write!(out, ": {}", who.join(" or "))
    }
}

/// What holds for an operation: never less than when it was filed, and never less than now. Of two rows in one place the
/// stricter holds, and both where neither is.
pub fn in_force(filed: &[Row], today: &[Row]) -> Vec<Row> {
    let mut rows = filed.to_vec();
    for row in today {
        match rows.iter_mut().find(|known| known.same_place(row)) {
            Some(known) if known.at_least_as_strict_as(row) => {}
            Some(known) if row.at_least_as_strict_as(known) => *known = row.clone(),
            _ => rows.push(row.clone()),
        }
    }
    rows
}

/// Fills as many places as can be filled, each with another candidate: for each place the one who fills it. A place that
/// comes earlier is not left open for the sake of a later one.
pub fn fill(places: usize, candidates: usize, fits: &dyn Fn(usize, usize) -> bool) -> Vec<Option<usize>> {
    let mut taken = vec![None; candidates];
    for place in 0..places {
        seat(place, fits, &mut taken, &mut vec![false; candidates]);
    }
    let filler = |place| taken.iter().position(|of| *of == Some(place));
    (0..places).map(filler).collect()
}

/// Finds somebody for a place, having others change theirs if that helps.
fn seat(place: usize, fits: &dyn Fn(usize, usize) -> bool, taken: &mut [Option<usize>], asked: &mut [bool]) -> bool {
    for candidate in 0..taken.len() {
        if asked[candidate] || !fits(place, candidate) {
            continue;
        }
        asked[candidate] = true;
        let free = match taken[candidate] {
            None => true,
            Some(other) => seat(other, fits, taken, asked),
        };
        if free {
            taken[candidate] = Some(place);
            return true;
        }
    }
    false
}
