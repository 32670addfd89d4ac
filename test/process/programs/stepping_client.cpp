// stepping_client: connects and makes a first put step by step, and sends itself a signal at a named point.
//
//   stepping_client NAME DIR POINT KILL|STOP|NONE
//
//   number      it has taken a number from the counter
//   claimed     it has claimed the mailbox
//   asked       it has stored its request and not yet rung the bell: the region cannot exist
//   ready       the region is ready; it has not attached
//   attached    it has attached and holds its lock; the server has not noticed
//   confirmed   the server has noticed
//   writing     a put is in the ring, without its tag
//   sent        a put is published; its answer is not awaited
//   streaming   one piece of a large put is published
//   answered    the put is answered
//
// If it is stopped and continued, it continues. At the end it prints "done" and the put's code, or the error.
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <unistd.h>
#include <utility>

#include "layout/connection.hpp"
#include "layout/master.hpp"
#include "process/harness/raw_connection.hpp"
#include "process/harness/sealed.hpp"

namespace {

using namespace hostmap;
using namespace hostmap::test;

std::string chosen_point;
int chosen_signal = 0;

void reach(const char* point) {
  if (chosen_point == point) ::raise(std::exchange(chosen_signal, 0));  // signal 0 is none
}

int step(const InstanceName& name) {
  RawConnection connection(name);
  for (;;) {
    connection.take_number();
    reach("number");
    if (connection.claim()) break;
  }
  reach("claimed");
  if (!connection.ask()) throw std::runtime_error("the server gave up waiting before the request");
  reach("asked");
  connection.ring_server();
  if (const MailboxState answer = connection.await_answer(std::chrono::seconds(10)); answer != kMailboxReady) {
    throw std::runtime_error("mailbox state " + std::to_string(answer));
  }
  reach("ready");
  connection.attach();
  reach("attached");
  connection.confirm();
  reach("confirmed");
  if (chosen_point == "streaming") {
    const std::string value = pattern(100'000, 7);
    const std::uint64_t piece = max_record_bytes(connection.ring_bytes()) - kRecordHeadBytes;
    encode_stream(connection.producer().begin(record_bytes(kStreamPayloadBytes)), Op::kPut, 4, value.size());
    connection.publish(record_bytes(kStreamPayloadBytes));
    const std::string bytes = "step" + value;
    for (std::uint64_t sent = 0; sent < bytes.size();) {
      const std::uint64_t size = std::min(piece, bytes.size() - sent);
      const bool last = sent + size == bytes.size();
      if (!connection.await_consumed(connection.producer().head())) throw std::runtime_error("not consumed");
      encode_piece(connection.producer().begin(record_bytes(size)), last, RawConnection::bytes_of(bytes), {}, sent,
                   size);
      connection.publish(record_bytes(size));
      sent += size;
      if (!last) reach("streaming");
    }
  } else {
    connection.write(Op::kPut, true, "step", "value");
    reach("writing");
    connection.publish(record_bytes(9));
    reach("sent");
  }
  const StatusCode code = connection.answer();
  reach("answered");
  std::printf("done %d\n", static_cast<int>(code));
  std::fflush(stdout);
  connection.header().client.closed.store(1);
  connection.ring_server();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  chosen_point = argv[3];
  const std::string signal = argv[4];
  chosen_signal = signal == "KILL" ? SIGKILL : signal == "STOP" ? SIGSTOP : 0;
  try {
    return step(*InstanceName::parse(argv[1], argv[2]));
  } catch (const std::exception& error) {
    std::printf("failed: %s\n", error.what());
    return 1;
  }
}
