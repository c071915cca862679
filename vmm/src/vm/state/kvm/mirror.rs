//! Types made for saving beside the structures of KVM's that they stand for.
//!
//! KVM's structures are the kernel's interface, with padding and with room for what comes later. What is saved has named fields, in an order
//! of its own, and changes by a new version of its unit only.

/// A type made for saving, and KVM's.
pub(super) trait Mirror {
    /// KVM's.
    type Kvm;

    /// What is saved of it.
    fn of(kvm: &Self::Kvm) -> Self;

    /// KVM's again; what is not saved is zero.
    fn kvm(&self) -> Self::Kvm;
}

macro_rules! plain {
    ($($type:ty),*) => { $(
        impl Mirror for $type {
            type Kvm = Self;

            fn of(kvm: &Self) -> Self {
                *kvm
            }

            fn kvm(&self) -> Self {
                *self
            }
        }
    )* };
}

plain!(u8, u16, u32, u64, i64);

impl<T: Mirror, const N: usize> Mirror for [T; N] {
    type Kvm = [T::Kvm; N];

    fn of(kvm: &Self::Kvm) -> Self {
        std::array::from_fn(|i| T::of(&kvm[i]))
    }

    fn kvm(&self) -> Self::Kvm {
        std::array::from_fn(|i| self[i].kvm())
    }
}

/// Defines a type made for saving by those fields of a structure of KVM's that are saved.
macro_rules! mirror {
    ($(#[$doc:meta])* $name:ident of $kvm:ty { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub(super) struct $name {
            $(pub(super) $field: $type,)*
        }

        impl $crate::vm::state::kvm::mirror::Mirror for $name {
            type Kvm = $kvm;

            fn of(kvm: &Self::Kvm) -> Self {
                Self { $($field: $crate::vm::state::kvm::mirror::Mirror::of(&kvm.$field),)* }
            }

            fn kvm(&self) -> Self::Kvm {
                let mut kvm = <$kvm>::default();
                $(kvm.$field = $crate::vm::state::kvm::mirror::Mirror::kvm(&self.$field);)*
                kvm
            }
        }
    };
}

pub(super) use mirror;
