//! Which mask a column has for a role: of all the rules that concern it, the strictest parts of each.
//!
//! Never: who is a member of whom, or what time it is. The rules that come here are the role's, the exemptions hold.

use super::mask::{Class, Mask, Spec};

/// A rule for every class.
pub const EVERY_CLASS: &str = "*";

/// A rule for columns that have no class.
pub const NO_CLASS: &str = "-";

/// Whether what is said of one class, or of all, is said of this one. To have none is no class.
pub fn concerns(said: &str, class: &str) -> bool {
    said == class || said == EVERY_CLASS && class != NO_CLASS
}

/// What a masked column is in a condition; the stricter, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Predicate {
    /// Compared for equality with a constant it is itself, otherwise its mask.
    Equal = 1,
    /// Its mask.
    Masked = 2,
    /// Refused.
    Deny = 3,
}

impl Predicate {
    pub const ALL: [Predicate; 3] = [Predicate::Equal, Predicate::Masked, Predicate::Deny];

    pub fn name(self) -> &'static str {
        match self {
            Predicate::Equal => "equal",
            Predicate::Masked => "masked",
            Predicate::Deny => "deny",
        }
    }

    pub fn from_name(name: &str) -> Option<Predicate> {
        Predicate::ALL.into_iter().find(|predicate| predicate.name() == name)
    }
}

/// What a masked role may write into a column; the stricter, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Write {
    /// New values, also a number or a date that looks like the mask of what stands there.
    Allow = 1,
    /// New values; what equals the mask of what stands there is taken for it and changes nothing.
    Guard = 2,
    /// Nothing.
    Deny = 3,
}

impl Write {
    pub const ALL: [Write; 3] = [Write::Allow, Write::Guard, Write::Deny];

    pub fn name(self) -> &'static str {
        match self {
            Write::Allow => "allow",
            Write::Guard => "guard",
            Write::Deny => "deny",
        }
    }

    pub fn from_name(name: &str) -> Option<Write> {
        Write::ALL.into_iter().find(|write| write.name() == name)
    }
}

/// What a rule says of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// A class, every class, or none.
    pub class: String,
    pub mask: Mask,
    pub prefix: Option<u8>,
    pub suffix: Option<u8>,
    pub predicate: Predicate,
    pub write: Write,
}

impl Rule {
    pub fn concerns(&self, class: &str) -> bool {
        concerns(&self.class, class)
    }

    /// Whether it shows more than another in some respect, or may, or lets more be written.
    pub fn is_weaker_than(&self, other: &Rule) -> bool {
        // What a class keeps by itself may be more than any number.
        let shows_more = |own: Option<u8>, other: Option<u8>| match (own, other) {
            (Some(own), Some(other)) => own > other,
            (own, other) => own != other && own != Some(0),
        };
        self.mask < other.mask
            || self.predicate < other.predicate
            || self.write < other.write
            || self.mask == other.mask
                && (shows_more(self.prefix, other.prefix) || shows_more(self.suffix, other.suffix))
    }
}

/// What a role sees of a column that it does not see clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Verdict {
    pub spec: Spec,
    pub predicate: Predicate,
    pub write: Write,
}

/// The verdict of a role's rules on a column of these classes; None: it is clear.
pub fn resolve<'r>(classes: &[String], rules: impl Iterator<Item = &'r Rule> + Clone) -> Option<Verdict> {
    let mut strictest: Option<Verdict> = None;
    for class in classes {
        for rule in rules.clone().filter(|rule| rule.concerns(class) && rule.mask > Mask::None) {
            let spec =
                Spec { class: Class::from_name(class), mask: rule.mask, prefix: rule.prefix, suffix: rule.suffix };
            let verdict = Verdict { spec, predicate: rule.predicate, write: rule.write };
            strictest = Some(strictest.map_or(verdict, |known| stricter(known, verdict)));
        }
    }
    strictest
}

/// The strictest of two in every respect.
fn stricter(one: Verdict, other: Verdict) -> Verdict {
    let (predicate, write) = (one.predicate.max(other.predicate), one.write.max(other.write));
    let spec = match one.spec.mask.cmp(&other.spec.mask) {
        std::cmp::Ordering::Greater => one.spec,
        std::cmp::Ordering::Less => other.spec,
        // What one class keeps may be what the other hides.
        std::cmp::Ordering::Equal if one.spec.class != other.spec.class => Spec { mask: Mask::Hide, ..one.spec },
        std::cmp::Ordering::Equal => Spec {
            prefix: shorter(one.spec.prefix, other.spec.prefix),
            suffix: shorter(one.spec.suffix, other.spec.suffix),
            ..one.spec
        },
    };
    Verdict { spec, predicate, write }
}

/// How much a class keeps by itself is not known here: against a number it counts as unknown, and then nothing is kept.
fn shorter(one: Option<u8>, other: Option<u8>) -> Option<u8> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (None, None) => None,
        _ => Some(0),
    }
}
