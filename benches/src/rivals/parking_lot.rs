//! Both lines of parking_lot, and usync, which has its interface.

use super::{Lock, Make, ReadWrite};

macro_rules! like_parking_lot {
    ($library:ident, $name:literal, $Lock:ident, $ReadWrite:ident) => {
        #[doc = concat!("The mutex of ", $name, ".")]
        pub struct $Lock(::$library::Mutex<u64>);

        impl Lock for $Lock {
            const NAME: &'static str = $name;

            fn make(_: Make) -> Self {
                Self(::$library::Mutex::new(0))
            }

            #[inline]
            fn with<R>(&self, section: impl FnOnce(&mut u64) -> R) -> R {
                section(&mut self.0.lock())
            }
        }

        #[doc = concat!("The read-write lock of ", $name, ".")]
        pub struct $ReadWrite(::$library::RwLock<u64>);

        impl ReadWrite for $ReadWrite {
            const NAME: &'static str = $name;

            fn make(_: Make) -> Self {
                Self(::$library::RwLock::new(0))
            }

            #[inline]
            fn read<R>(&self, section: impl FnOnce(&u64) -> R) -> R {
                section(&self.0.read())
            }

            #[inline]
            fn write<R>(&self, section: impl FnOnce(&mut u64) -> R) -> R {
                section(&mut self.0.write())
            }
        }
    };
}

like_parking_lot!(parking_lot, "parking_lot 0.13", ParkingLotLock, ParkingLotReadWrite);
like_parking_lot!(parking_lot_12, "parking_lot 0.12", ParkingLot12Lock, ParkingLot12ReadWrite);
like_parking_lot!(usync, "usync", UsyncLock, UsyncReadWrite);
