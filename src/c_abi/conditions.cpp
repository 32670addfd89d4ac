// Changes that depend on the value. A value that the change removes is copied before the change is sent: if there is no memory
// for the copy, nothing was changed.
#include <optional>
#include <string>

#include "c_abi/common.hpp"

using namespace hostmap::c_abi;
using hostmap::Bytes;
using hostmap::Client;
using hostmap::Token;

namespace {

Token token_of(const hostmap_token& token) noexcept { return {token.low, token.high}; }

}  // namespace

int hostmap_compare_exchange(hostmap_map* map, const void* key, size_t key_size, const void* expected,
                             size_t expected_size, const void* desired, size_t desired_size) {
  if (!is_given(expected, expected_size)) return refuse_arguments(map);
  return with_value(map, key, key_size, desired, desired_size, [&](Client& client, const Bytes& k, const Bytes& v) {
    return report(client.compare_exchange(k, bytes_of(expected, expected_size), v));
  });
}

int hostmap_compare_erase(hostmap_map* map, const void* key, size_t key_size, const void* expected,
                          size_t expected_size) {
  return with_value(map, key, key_size, expected, expected_size,
                    [](Client& client, const Bytes& k, const Bytes& v) { return report(client.compare_erase(k, v)); });
}

int hostmap_get_with_token(hostmap_map* map, const void* key, size_t key_size, void** value, size_t* value_size,
                           hostmap_token* token) {
  if (!clear_result(value, value_size) || token == nullptr) return refuse_result();
  return with_key(map, key, key_size, [&](Client& client, const Bytes& k) {
    const hostmap::Result<hostmap::ValueAndToken> found = client.get_with_token(k);
    if (!found) return report(found.status());
    const int result = hand_over(found->value, value, value_size);
    if (result == HOSTMAP_OK) *token = {found->token.low, found->token.high};
    return result;
  });
}

int hostmap_put_if(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size,
                   const hostmap_token* token) {
  if (token == nullptr) return refuse("the token is a null pointer");
  return with_value(map, key, key_size, value, value_size, [&](Client& client, const Bytes& k, const Bytes& v) {
    return report(client.put_if(k, v, token_of(*token)));
  });
}

int hostmap_erase_if(hostmap_map* map, const void* key, size_t key_size, const hostmap_token* token) {
  if (token == nullptr) return refuse("the token is a null pointer");
  return with_key(map, key, key_size,
                  [&](Client& client, const Bytes& k) { return report(client.erase_if(k, token_of(*token))); });
}

int hostmap_exchange(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size,
                     void** old, size_t* old_size) {
  if (!clear_result(old, old_size)) return refuse_result();
  return with_value(map, key, key_size, value, value_size, [&](Client& client, const Bytes& k, const Bytes& v) {
    Copy copy;
    const hostmap::Status status = client.exchange(  // not atomic
        k, v, [&copy](std::optional<std::string_view> replaced) { replaced ? copy.set(*replaced) : copy.clear(); });
    if (status.ok()) copy.give(old, old_size);
    return report(status);
  });
}

int hostmap_take(hostmap_map* map, const void* key, size_t key_size, void** value, size_t* value_size) {
  if (!clear_result(value, value_size)) return refuse_result();
  return with_key(map, key, key_size, [&](Client& client, const Bytes& k) {
    Copy copy;
    const hostmap::Status status =
        client.take(k, [&copy](std::optional<std::string_view> removed) { copy.set(*removed); });
    if (status.ok()) copy.give(value, value_size);
    return report(status);
  });
}

int hostmap_insert_or_get(hostmap_map* map, const void* key, size_t key_size, const void* value, size_t value_size,
                          void** present, size_t* present_size) {
  if (!clear_result(present, present_size)) return refuse_result();
  return with_value(map, key, key_size, value, value_size, [&](Client& client, const Bytes& k, const Bytes& v) {
    const hostmap::Result<std::optional<std::string>> found = client.insert_or_get(k, v);
    if (!found) return report(found.status());
    if (!*found) return static_cast<int>(HOSTMAP_OK);
    const int result = hand_over(**found, present, present_size);
    return result == HOSTMAP_OK ? report(hostmap::StatusCode::kAlreadyExists) : result;
  });
}
