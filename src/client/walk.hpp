// walk: the loop of all calls that go over the keys of a table.
#pragma once

#include <new>
#include <sched.h>

#include "base/ends.hpp"
#include "client/impl.hpp"
#include "table/read/scan.hpp"

namespace hostmap {

// Calls `visit(scan)` after each step of `scan` that read a bucket, until it returns false or the table ends. A bucket that
// keeps changing is read again for at most the client's timeout. Errors: kTimeout, kClosed, kFull (this process is out of memory).
template <typename Visit>
Status walk(Client::Impl& impl, const Session* session, TableScan& scan, const Visit& visit) {
  for (Deadline patience = impl.deadline();;) {
    TableScan::Step step = TableScan::Step::kContended;
    try {
      step = scan.next();
    } catch (const std::bad_alloc&) {
      return Status::out_of_memory();
    }
    if (!impl.still_current(session) || step == TableScan::Step::kClosed) return StatusCode::kClosed;
    if (step == TableScan::Step::kDone) return {};
    if (step == TableScan::Step::kContended) {
      if (patience.left() == 0) return StatusCode::kTimeout;
      patience.yield();
      continue;
    }
    if (!visit(scan)) return {};
    patience = impl.deadline();
  }
}

// Calls `each(key, value, end)` for the keys of the step that was read last, until it returns false or a value cannot be read, which
// `status` then says. Without `values`, each value is empty and each end kNoEnd. `value`: memory for the values that are entries.
// True: each key was visited.
template <typename Each>
bool visit_items(Client::Impl& impl, const TableScan& scan, bool values, std::string& value, Status& status,
                 const Each& each) {
  for (const TableScan::Item& item : scan.items()) {
    std::string_view found(reinterpret_cast<const char*>(&item.value), values ? sizeof item.value : 0);
    std::uint64_t end = kNoEnd;
    if (values && !item.is_pair) {
      const Result<std::uint64_t> size = impl.read(std::string_view(item.key), ValueTarget::string(value), &end);
      if (!size && size.status() == StatusCode::kNotFound) continue;  // removed since then
      if (!size) {
        status = size.status();
        return false;
      }
      found = value;
    }
    if (!each(item.key, found, end)) return false;
  }
  return true;
}

}  // namespace hostmap
