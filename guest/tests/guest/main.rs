//! Tests of the guest that need no KVM: the image as a file, its tables, its CPL 3 code, and the
//! decoding of its counters. Whether it runs is shown by the KVM tests of the VMM.

mod image;
mod loaded;
mod observe;
mod page_tables;
mod storms;
