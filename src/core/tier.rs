//! The three risk tiers of the manual (requirements 2-24).

/// How risky a statement is; the order is the order of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Tier {
    Normal = 1,
    Important = 2,
    Critical = 3,
}

impl Tier {
    /// The label of the SQL type `steward.tier`.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Normal => "normal",
            Tier::Important => "important",
            Tier::Critical => "critical",
        }
    }

    pub fn from_name(name: &str) -> Option<Tier> {
        [Tier::Normal, Tier::Important, Tier::Critical].into_iter().find(|tier| tier.name() == name)
    }

    pub fn from_u8(value: u8) -> Option<Tier> {
        [Tier::Normal, Tier::Important, Tier::Critical].into_iter().find(|tier| *tier as u8 == value)
    }
}
