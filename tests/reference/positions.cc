// Resamples a position embedding, for positions_test.py.
//   positions IN.f32 WIDTH NEW_ROWS OUT.f32        IN is [rows, WIDTH]
#include "model/positions.h"

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const int64_t width = std::stoll(argv[2]), rows = std::stoll(argv[3]);
  std::ifstream in(argv[1], std::ios::binary);
  std::vector<char> bytes((std::istreambuf_iterator<char>(in)), {});
  const auto count = static_cast<int64_t>(bytes.size() / sizeof(float));
  const at::Tensor positions = at::from_blob(bytes.data(), {count / width, width}, at::kFloat);
  const at::Tensor out = contrail::model::ResamplePositions(positions, rows).contiguous();
  std::ofstream(argv[4], std::ios::binary)
      .write(static_cast<const char*>(out.const_data_ptr()),
             static_cast<std::streamsize>(out.nbytes()));
  return 0;
}
