// Captions to token ids, one thread.
//   tokenizer CAPTIONS_FILE BPE_FILE
// A repetition is the whole file, a caption a line; the figure is the number of tokens.

#include <cstdio>
#include <fstream>

#include "bench/serve.h"
#include "data/tokenizer.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("tokenizer CAPTIONS_FILE BPE_FILE\n", stderr);
    return 2;
  }
  const auto tokenizer = contrail::data::Tokenizer::Load(argv[2]);
  std::vector<std::string> captions;
  std::ifstream in(argv[1]);
  for (std::string line; std::getline(in, line);) captions.push_back(line);
  return contrail::bench::Serve([&](int64_t repetitions) {
    size_t tokens = 0;
    for (int64_t i = 0; i < repetitions; ++i) {
      tokens = 0;
      for (const std::string& caption : captions) tokens += tokenizer->Encode(caption).size();
    }
    return static_cast<double>(tokens);
  });
}
