//! An embeddable presence and messaging framework that hosts plugins.
