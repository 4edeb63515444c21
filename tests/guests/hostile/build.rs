//! The contract is read by a macro, which does not tell the compiler that it depends on these files.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../../../wit");
}
