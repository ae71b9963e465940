//! Which mask: the class of the value, the kind of mask and how much of the value's ends is kept.

/// Most characters that may be kept at one end.
const LONGEST_END: u8 = 64;

/// What kind of value it is. Classes that are not named here are legal, and nothing of their values is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Class {
    Other = 0,
    IdCard = 1,
    Phone = 2,
    Name = 3,
    Address = 4,
    Guardian = 5,
    BankCard = 6,
    Email = 7,
    BirthDate = 8,
    FreeId = 9,
    Score = 10,
    Amount = 11,
    Photo = 12,
    Passport = 13,
}

impl Class {
    /// Those with a name of their own.
    pub const KNOWN: [Class; 13] = [
        Class::IdCard,
        Class::Phone,
        Class::Name,
        Class::Address,
        Class::Guardian,
        Class::BankCard,
        Class::Email,
        Class::BirthDate,
        Class::FreeId,
        Class::Score,
        Class::Amount,
        Class::Photo,
        Class::Passport,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Class::Other => "other",
            Class::IdCard => "id_card",
            Class::Phone => "phone",
            Class::Name => "name",
            Class::Address => "address",
            Class::Guardian => "guardian",
            Class::BankCard => "bank_card",
            Class::Email => "email",
            Class::BirthDate => "birth_date",
            Class::FreeId => "free_id",
            Class::Score => "score",
            Class::Amount => "amount",
            Class::Photo => "photo",
            Class::Passport => "passport",
        }
    }

    /// The class of a label. `guardian_contact` is what the installed rules call `guardian`.
    pub fn from_name(name: &str) -> Class {
        match name {
            "guardian_contact" => Class::Guardian,
            _ => Class::KNOWN.into_iter().find(|class| class.name() == name).unwrap_or(Class::Other),
        }
    }

    fn from_code(code: u16) -> Option<Class> {
        [Class::Other].into_iter().chain(Class::KNOWN).find(|class| *class as u16 == code)
    }
}

/// What is done with a value; the stricter, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mask {
    /// Shown as it is.
    None = 1,
    /// What the class keeps.
    Partial = 2,
    /// A coarser value: province and city, school year, band.
    Generalize = 3,
    /// 80 bits that are the same for the same value.
    Pseudonym = 4,
    /// 256 bits that are the same for the same value.
    Hash = 5,
    /// Nothing.
    Hide = 6,
}

impl Mask {
    pub const ALL: [Mask; 6] = [Mask::None, Mask::Partial, Mask::Generalize, Mask::Pseudonym, Mask::Hash, Mask::Hide];

    pub const fn name(self) -> &'static str {
        match self {
            Mask::None => "none",
            Mask::Partial => "partial",
            Mask::Generalize => "generalize",
            Mask::Pseudonym => "pseudonym",
            Mask::Hash => "hash",
            Mask::Hide => "hide",
        }
    }

    pub fn from_name(name: &str) -> Option<Mask> {
        Mask::ALL.into_iter().find(|mask| mask.name() == name)
    }
}

/// A mask of a class. `prefix` and `suffix`: characters kept in front and at the end under `Mask::Partial`; None: as many
/// as the class keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    pub class: Class,
    pub mask: Mask,
    pub prefix: Option<u8>,
    pub suffix: Option<u8>,
}

/// The lowest byte of every number that a [`Spec`] becomes.
const FORMAT: u8 = 1;

impl Spec {
    /// None if an end is negative or longer than [`LONGEST_END`].
    pub fn new(class: Class, mask: Mask, prefix: Option<i32>, suffix: Option<i32>) -> Option<Spec> {
        let end = |length: Option<i32>| match length {
            Some(length) => u8::try_from(length).ok().filter(|length| *length <= LONGEST_END).map(Some),
            None => Some(None),
        };
        Some(Spec { class, mask, prefix: end(prefix)?, suffix: end(suffix)? })
    }

    /// ```text
    /// from the lowest byte: format, class (2), mask, prefix + 1 or 0, suffix + 1 or 0, 0, 0
    /// ```
    pub fn to_i64(self) -> i64 {
        let class = (self.class as u16).to_le_bytes();
        let end = |length: Option<u8>| length.map_or(0, |length| length.min(LONGEST_END) + 1);
        let (prefix, suffix) = (end(self.prefix), end(self.suffix));
        i64::from_le_bytes([FORMAT, class[0], class[1], self.mask as u8, prefix, suffix, 0, 0])
    }

    /// None for what no spec becomes: whoever meets it shows nothing.
    pub fn from_i64(number: i64) -> Option<Spec> {
        let [FORMAT, low, high, mask, prefix, suffix, 0, 0] = number.to_le_bytes() else { return None };
        let end = |byte: u8| byte.checked_sub(1).map(i32::from);
        let mask = Mask::ALL.into_iter().find(|known| *known as u8 == mask)?;
        Spec::new(Class::from_code(u16::from_le_bytes([low, high]))?, mask, end(prefix), end(suffix))
    }

    /// Whether the mask is a token, which is made with the key.
    pub fn needs_key(self) -> bool {
        match self.mask {
            Mask::Hash | Mask::Pseudonym => true,
            Mask::Partial => self.class == Class::FreeId && self.ends().is_none(),
            Mask::None | Mask::Generalize | Mask::Hide => false,
        }
    }

    /// What is to be kept at both ends, if anybody said so.
    pub(super) fn ends(self) -> Option<(usize, usize)> {
        let length = |end: Option<u8>| usize::from(end.unwrap_or(0));
        (self.prefix.is_some() || self.suffix.is_some()).then(|| (length(self.prefix), length(self.suffix)))
    }

    /// What is to be kept at both ends where the class keeps so many by itself.
    pub(super) fn ends_or(self, prefix: usize, suffix: usize) -> (usize, usize) {
        (self.prefix.map_or(prefix, usize::from), self.suffix.map_or(suffix, usize::from))
    }
}

/// As people read it: class and mask, and the ends if they are not the class's own.
impl std::fmt::Display for Spec {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {}", self.class.name(), self.mask.name())?;
        match (self.prefix, self.suffix) {
            (None, None) => Ok(()),
            (prefix, suffix) => {
                let end = |length: Option<u8>| length.map_or_else(|| "-".to_owned(), |length| length.to_string());
                write!(out, " {}+{}", end(prefix), end(suffix))
            }
        }
    }
}
