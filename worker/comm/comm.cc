#include "worker/comm/comm.h"

#include <cstring>

#include "common/error.h"

namespace contrail::worker {
namespace {

at::Tensor Bytes(const std::string& text, int64_t size) {
  at::Tensor bytes = at::zeros({size}, at::kByte);
  std::memcpy(bytes.data_ptr(), text.data(), text.size());
  return bytes;
}

}  // namespace

std::vector<std::string> Comm::AllGatherText(const std::string& text) {
  at::Tensor own_length = at::full({1}, static_cast<int64_t>(text.size()), at::kLong);
  at::Tensor lengths = at::empty({size()}, at::kLong);
  AllGather(lengths, own_length);

  const int64_t longest = std::max<int64_t>(1, lengths.max().item<int64_t>());
  at::Tensor all = at::empty({size() * longest}, at::kByte);
  AllGather(all, Bytes(text, longest));

  std::vector<std::string> texts;
  for (int r = 0; r < size(); ++r) {
    const char* begin = static_cast<const char*>(all.data_ptr()) + r * longest;
    texts.emplace_back(begin, static_cast<size_t>(lengths[r].item<int64_t>()));
  }
  return texts;
}

std::string Comm::BroadcastText(const std::string& text, int root) {
  at::Tensor length = at::full({1}, static_cast<int64_t>(text.size()), at::kLong);
  Broadcast(length, root);
  const int64_t size = length.item<int64_t>();
  at::Tensor bytes = rank() == root ? Bytes(text, size) : at::empty({size}, at::kByte);
  if (size > 0) Broadcast(bytes, root);
  return std::string(static_cast<const char*>(bytes.data_ptr()), static_cast<size_t>(size));
}

}  // namespace contrail::worker
