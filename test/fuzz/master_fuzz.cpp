// Any byte of a master region can have any value at any moment: the server's rendezvous reports only ids that belong to
// their mailbox, and initializes the region again; a client is accepted, refused, or too late. No access is outside of the
// region.
//
// An input is a list of stores into the region and of steps of either end.
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <unistd.h>

#include "fuzz/acts.hpp"
#include "layout/master.hpp"
#include "shm/region.hpp"
#include "slot/client_reservation.hpp"
#include "slot/server_rendezvous.hpp"
#include "wait/deadline.hpp"

namespace {

using namespace hostmap;
using namespace hostmap::test;

constexpr std::uint32_t kConnections = 16;
constexpr std::uint64_t kIncarnation = 7;

// A client that connects now, with a mapping of its own.
void come(const std::string& path, bool canary) {
  Result<Region> region = Region::attach(path, RegionKind::kMaster, Access::kReadWrite);
  if (!region || region->bytes() < sizeof(MasterHeader)) return;
  MasterView view(region->data());
  if (!canary && !view.plausible(region->bytes())) return;
  const std::uint32_t mailboxes = view.header().mailbox_count;
  if (mailboxes == 0) return;
  view.set_mailboxes(mailboxes);
  if (canary) {  // a client without the check above, which this test must find when it is tested itself
    view.mailbox(mailboxes - 1).word.load();
    return;
  }
  Deadline none(std::chrono::nanoseconds(0));
  if (const Result<std::uint64_t> id = reserve_connection(view, none)) {
    static_cast<void>(confirm_attached(view, *id));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool canary = std::getenv("HOSTMAP_FUZZ_CANARY") != nullptr;
  static const std::string path = "/dev/shm/hm-test-" + std::to_string(::getpid()) + "-fuzzed-master";
  ::unlink(path.c_str());
  const std::uint32_t mailboxes = mailboxes_for(kConnections);
  Result<Region> made = Region::create(path, master_bytes(mailboxes), 0600);
  if (!made || !made->populate(0, made->bytes()).ok()) throw std::runtime_error("no memory for a master region");
  Region& master = *made;
  lay_out_master(master, kIncarnation, kConnections, 1);
  master.publish();
  MasterView view(master.data());
  view.set_mailboxes(mailboxes);
  Rendezvous rendezvous(view);
  std::int64_t now = 1;
  for_each_act(data, size, [&](const Act& act) {
    switch (act.kind % 6) {
      case 0: {  // every second time in the head, which is a small part of the region
        const std::uint64_t words = (act.where % 2 == 0 ? sizeof(RegionHeader) + 64 : master.bytes()) / sizeof(Word);
        master.at<Word>(act.where / 2 % words * sizeof(Word))->store(act.value);
        break;
      }
      case 1:  // the word of a mailbox, which has the most effect
        view.mailbox(act.where).word.store(mailbox_word(act.where & kIdMask, static_cast<MailboxState>(act.value % 9)));
        break;
      case 2: {
        std::size_t events = 0;
        for (const Rendezvous::Event& event : rendezvous.collect(now)) {
          ++events;
          require(event.id <= kIdMask);
          if (event.kind == Rendezvous::Event::kRequested) {
            rendezvous.reply(event.id, static_cast<MailboxState>(kMailboxReady + act.value % 4));
          } else {
            static_cast<void>(rendezvous.awaited(event.id));
          }
        }
        require(events <= 2 * std::size_t{mailboxes});
        break;
      }
      case 3:
        now += static_cast<std::int64_t>(act.value % 4'000'000'000);
        break;
      case 4:
        come(path, canary);
        break;
      default:
        if (is_laid_out(master, kIncarnation, kConnections, 1)) break;
        lay_out_master(master, kIncarnation, kConnections, 1);
        master.publish();
        require(is_laid_out(master, kIncarnation, kConnections, 1));
    }
  });
  refuse_all_clients(view);
  for (std::uint32_t i = 0; i < mailboxes; ++i) require(mailbox_state(view.mailbox(i).word.load()) == kMailboxFree);
  ::unlink(path.c_str());
  return 0;
}
