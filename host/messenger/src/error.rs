//! The one error of the messenger: a stable code, a sentence, a cause and a hint.

use core::{fmt, time::Duration};
use std::sync::Arc;

use crate::code::Code;

/// Whether trying again can help.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Retry {
    /// The same call will fail again.
    Never,
    /// Something else has to change first: signed in, granted, corrected.
    AfterChange,
    /// After this time; the engine itself retries where it owns the operation.
    After(Duration),
}

/// A failure, cheap to clone: it travels in events to many readers.
#[derive(Clone, Eq, PartialEq)]
pub struct Error(Arc<Inner>);

#[derive(Eq, PartialEq)]
struct Inner {
    code: Code,
    message: String,
    cause: Option<String>,
    retry: Retry,
}

impl Error {
    /// A failure with one sentence for a person, lower case and without a full stop. Never put a secret or the body of
    /// a message into it.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner { code, message: message.into(), cause: None, retry: Retry::Never }))
    }

    /// The same failure with what caused it, such as the answer of the service.
    #[must_use]
    pub fn because(self, cause: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            code: self.0.code,
            message: self.0.message.clone(),
            cause: Some(cause.into()),
            retry: self.0.retry,
        }))
    }

    /// The same failure with a hint.
    #[must_use]
    pub fn retry(self, retry: Retry) -> Self {
        Self(Arc::new(Inner {
            code: self.0.code,
            message: self.0.message.clone(),
            cause: self.0.cause.clone(),
            retry,
        }))
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// One sentence for a person.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What caused it, if that is known.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// Whether trying again can help.
    #[must_use]
    pub fn retry_hint(&self) -> Retry {
        self.0.retry
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("code", &self.0.code)
            .field("message", &self.0.message)
            .field("cause", &self.0.cause)
            .field("retry", &self.0.retry)
            .finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(cause) = &self.0.cause {
            write!(f, ": {cause}")?;
        }
        write!(f, " [{} {:#010x}]", self.0.code, self.0.code.number())
    }
}

impl std::error::Error for Error {}
