//! Paths of the contract: `INTERFACE.FUNCTION`, `INTERFACE.TYPE`, `INTERFACE.TYPE.FIELD`.

use std::path::Path;

use anyhow::{Context, Result};
use wit_parser::{Resolve, TypeDefKind};

pub(super) struct Contract(Resolve);

impl Contract {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let mut resolve = Resolve::default();
        resolve.push_dir(folder).with_context(|| folder.display().to_string())?;
        Ok(Self(resolve))
    }

    pub(super) fn has(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('.').collect();
        let (Some(interface), Some(item), rest) = (parts.first(), parts.get(1), parts.get(2..)) else {
            return false;
        };
        let mut interfaces = self.0.interfaces.iter().filter(|(_, it)| it.name.as_deref() == Some(interface));
        interfaces.any(|(_, interface)| match rest {
            None | Some([]) => interface.functions.contains_key(*item) || interface.types.contains_key(*item),
            Some([field]) => interface.types.get(*item).is_some_and(|id| {
                let names: Vec<&str> = match &self.0.types[*id].kind {
                    TypeDefKind::Record(record) => record.fields.iter().map(|it| it.name.as_str()).collect(),
                    TypeDefKind::Variant(variant) => {
                        variant.cases.iter().map(|it| it.name.as_str()).collect()
                    }
                    TypeDefKind::Enum(cases) => cases.cases.iter().map(|it| it.name.as_str()).collect(),
                    _ => Vec::new(),
                };
                names.contains(field)
            }),
            Some(_) => false,
        })
    }
}
