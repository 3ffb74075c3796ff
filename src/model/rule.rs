//! One entry of a list of what may be received or sent to.

use std::fmt;

use super::group::Group;
use super::prefix::AddressPrefix;
use super::selector::InterfaceSelector;
use super::source::SourceFilter;
use super::spec::Spec;

/// Groups, and where and from whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which groups and ports.
    pub groups: Spec,
    /// On which interfaces; an empty list means on every one.
    pub interfaces: Vec<InterfaceSelector>,
    /// Who may be heard; an empty list means everybody. With a list, a subscription has to name sources, and
    /// every one must be on it. Has no meaning for sending.
    pub sources: Vec<AddressPrefix>,
}

impl Rule {
    /// Whether a subscription with `filter` hears nobody but whom this rule admits.
    #[must_use]
    pub fn admits(&self, filter: &SourceFilter) -> bool {
        if self.sources.is_empty() {
            return true;
        }
        let SourceFilter::Include(sources) = filter else { return false };
        sources.iter().all(|source| self.sources.iter().any(|prefix| prefix.contains(*source)))
    }

    /// Whether it matches `group`.
    #[must_use]
    pub fn matches(&self, group: &Group) -> bool {
        self.groups.matches(group)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.groups.fmt(formatter)?;
        for (words, texts) in [
            (" on ", self.interfaces.iter().map(ToString::to_string).collect::<Vec<_>>()),
            (" from ", self.sources.iter().map(ToString::to_string).collect()),
        ] {
            if !texts.is_empty() {
                write!(formatter, "{words}{}", texts.join(" and "))?;
            }
        }
        Ok(())
    }
}

impl From<Spec> for Rule {
    fn from(groups: Spec) -> Rule {
        Rule { groups, interfaces: Vec::new(), sources: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_sources_wants_every_source_on_it() {
        let mut rule = Rule::from("232.0.0.0/8".parse::<Spec>().expect("a spec"));
        assert!(rule.admits(&SourceFilter::Any));
        rule.sources = vec!["10.0.0.0/24".parse().expect("a prefix")];
        let include = |sources: &[&str]| {
            let sources = sources.iter().map(|source| source.parse().expect("an address")).collect();
            SourceFilter::include(sources).expect("a filter")
        };
        assert!(rule.admits(&include(&["10.0.0.5"])) && rule.admits(&include(&["10.0.0.5", "10.0.0.6"])));
        for filter in [SourceFilter::Any, include(&["10.0.1.5"]), include(&["10.0.0.5", "10.0.1.5"])] {
            assert!(!rule.admits(&filter), "{filter:?}");
        }
    }
}
