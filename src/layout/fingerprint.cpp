#include "layout/fingerprint.hpp"

#include "layout/connection.hpp"
#include "layout/journal.hpp"
#include "layout/master.hpp"
#include "layout/table.hpp"

namespace hostmap {

namespace {
constexpr std::uint64_t kRevision = 6;
}  // namespace

constinit const std::uint64_t kFingerprint =
    (kHashId + kRevision) * 0x9e37'79b9'7f4a'7c15 ^
    (sizeof(TableHeader) * 31 + sizeof(PairBucket) * 37 + sizeof(EntryBucket) * 41 + sizeof(ConnectionHeader) * 43 +
     sizeof(ChannelControl) * 47 + sizeof(Intent) * 53 + sizeof(JournalHeader) * 59 + sizeof(MasterHeader) * 61 +
     kSlabBytes * 67 + kMaxLanes * 71 + sizeof(ChannelPosition) * 73);

}  // namespace hostmap
