#pragma once
// A packed handful of photos and an encoder with fresh weights.

#include <memory>
#include <string>

#include "eval/encoder.h"

namespace contrail::eval {

class PackedPhotos {
 public:
  explicit PackedPhotos(uint64_t samples);  // test photos, with labels, class names, templates
  ~PackedPhotos();
  const std::string& dir() const { return dir_; }  // a zero-shot data set
  std::string operator/(const std::string& name) const { return dir_ + "/" + name; }

 private:
  std::string dir_;
};

// tiny-vit with weights drawn from `seed`.
std::unique_ptr<Encoder> FreshEncoder(uint64_t seed, int64_t batch_size);

}  // namespace contrail::eval
