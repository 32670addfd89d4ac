// Typed maps: accounts by number, each a struct, and names by account. Each worker is a forked process that moves money between
// accounts; an update is one step, so what they all hold together does not change.
//
//   hostmap-server --background
//   typed_map [NAME]        NAME: of the server's instance
#include <cstdio>
#include <optional>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include <hostmap/map.hpp>

namespace {

constexpr int kWorkers = 3;
constexpr int kTransfers = 500;
constexpr std::uint32_t kAccounts = 10;
constexpr std::int64_t kFirstBalance = 100;

struct Account {
  std::int64_t balance;
  std::int64_t changes;
};

using Accounts = hostmap::Map<std::uint32_t, Account>;
using Owners = hostmap::Map<std::string, std::uint32_t>;

int fail(const hostmap::Status& status) {
  std::fprintf(stderr, "typed_map: %s\n", std::string(status.message()).c_str());
  return 1;
}

hostmap::Status add(Accounts& accounts, std::uint32_t number, std::int64_t amount) {
  return accounts.update(number, [amount](std::optional<Account> now) {
    const Account account = now.value_or(Account{});
    return Account{account.balance + amount, account.changes + 1};
  });
}

int transfer(Accounts& accounts, std::uint32_t worker) {
  for (std::uint32_t i = 0; i < kTransfers; ++i) {
    const std::uint32_t from = (i * 7 + worker) % kAccounts;
    const std::uint32_t to = (i * 3 + 1) % kAccounts;
    if (auto status = add(accounts, from, -1); !status.ok()) return fail(status);
    if (auto status = add(accounts, to, 1); !status.ok()) return fail(status);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  hostmap::Options options;
  if (argc > 1) options.name = argv[1];
  hostmap::Result<hostmap::Client> client = hostmap::Client::connect(options);
  if (!client) return fail(client.status());
  hostmap::Result<Accounts> accounts = Accounts::named(*client, "accounts");
  if (!accounts) return fail(accounts.status());
  hostmap::Result<Owners> owners = Owners::named(*client, "owners");
  if (!owners) return fail(owners.status());

  for (std::uint32_t number = 0; number < kAccounts; ++number) {
    const std::string owner = "customer " + std::to_string(number);
    if (auto status = accounts->insert_or_assign(number, {kFirstBalance, 0}); !status.ok()) return fail(status);
    if (auto status = owners->insert_or_assign(owner, number); !status.ok()) return fail(status);
  }

  for (std::uint32_t worker = 0; worker < kWorkers; ++worker) {
    const pid_t child = ::fork();
    if (child < 0) return std::perror("typed_map: fork"), 1;
    if (child == 0) ::_exit(transfer(*accounts, worker));  // the first call of a child connects anew by itself
  }
  int failed = 0;
  for (int status = 0; ::wait(&status) > 0;) failed += status != 0 ? 1 : 0;
  if (failed != 0) return 1;

  const hostmap::Result<std::uint32_t> number = owners->find("customer 3");
  if (!number) return fail(number.status());
  const hostmap::Result<Account> account = accounts->find(*number);
  if (!account) return fail(account.status());
  std::printf("account %u of customer 3 was changed %lld times\n", *number, static_cast<long long>(account->changes));

  std::int64_t total = 0;
  std::int64_t changes = 0;
  const hostmap::Status visited = accounts->for_each([&](std::uint32_t, const Account& each) {
    total += each.balance;
    changes += each.changes;
  });
  if (!visited.ok()) return fail(visited);
  std::printf("%lld changes, all accounts together hold %lld\n", static_cast<long long>(changes),
              static_cast<long long>(total));
  return total == kAccounts * kFirstBalance ? 0 : 1;
}
