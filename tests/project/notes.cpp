// What README and notes name must exist: files, functions, this folder's index.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace {

const std::filesystem::path root = GROWSTACK_SOURCE_DIR;

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  REQUIRE_MESSAGE(file.good(), path.string());
  std::string text;
  for (std::string line; std::getline(file, line);) {
    text += line + "\n";
  }
  return text;
}

std::vector<std::filesystem::path> pages() {
  std::vector<std::filesystem::path> all{root / "README.md", root / "tests" / "README.md"};
  for (const auto& entry : std::filesystem::directory_iterator(root / "notes")) {
    all.push_back(entry.path());
  }
  return all;
}

/// The groups of each match.
std::vector<std::smatch> matches_of(const std::string& text, const std::regex& pattern) {
  return {std::sregex_iterator(text.begin(), text.end(), pattern), std::sregex_iterator()};
}

}  // namespace

TEST_CASE("every link leads to a file") {
  std::size_t links = 0;
  for (const std::filesystem::path& page : pages()) {
    const std::string text = text_of(page);
    for (const std::smatch& match : matches_of(text, std::regex(R"(\]\(([^)#:]+)(#[^)]*)?\))"))) {
      ++links;
      CAPTURE(page.string());
      CAPTURE(match[1].str());
      CHECK(std::filesystem::exists(page.parent_path() / match[1].str()));
    }
  }
  CHECK(links > 40);
}

TEST_CASE("every file that is named exists") {
  std::size_t files = 0;
  for (const std::filesystem::path& page : pages()) {
    const std::string text = text_of(page);
    for (const std::smatch& match : matches_of(
             text,
             std::regex(R"(`((?:handler|lib|tests|bench|notes)/[a-z_/0-9]+(?:\.[a-z]+)?)`)"))) {
      ++files;
      CAPTURE(page.string());
      CAPTURE(match[1].str());
      CHECK(std::filesystem::exists(root / match[1].str()));
    }
  }
  CHECK(files > 40);
}

TEST_CASE("every function that is said to be in a file is there") {
  std::size_t functions = 0;
  for (const std::filesystem::path& page : pages()) {
    const std::string text = text_of(page);
    for (const std::smatch& match : matches_of(
             text, std::regex(R"(`([A-Za-z_]+)`(?:\s\([^)]*\))?\s+in\s+`([a-z_/]+\.[ch]pp)`)"))) {
      ++functions;
      CAPTURE(page.string());
      CAPTURE(match.str());
      CHECK(std::regex_search(text_of(root / match[2].str()),
                              std::regex("\\b" + match[1].str() + "\\b")));
    }
  }
  CHECK(functions > 25);
}

namespace {

/// The files that the index of the tests names, in its order.
std::vector<std::string> files_in_the_index() {
  const std::string index = text_of(root / "tests" / "README.md");
  std::vector<std::string> files;
  for (const std::smatch& match : matches_of(index, std::regex(R"(\]\(([a-z_/]+)\.cpp\))"))) {
    files.push_back(match[1].str());
  }
  return files;
}

/// The files in the calls of a CMake function, in their order. They lie in `folder`; those of the
/// function <function>_model in its folder models/.
std::vector<std::string> files_of(const std::string& list, const std::string& function,
                                  const std::string& folder) {
  std::vector<std::string> files;
  for (const std::smatch& match : matches_of(
           list, std::regex("\\n" + function + R"((_model|_interleaved)?\(([a-z_/]+)([^)]*))"))) {
    const std::string keywords = match[3].str();
    // What follows WITH has no tests.
    const std::string with_tests = keywords.substr(0, keywords.find("WITH"));
    const std::vector<std::smatch> sources =
        matches_of(with_tests, std::regex(R"(([a-z_/]+)\.cpp)"));
    for (const std::smatch& source : sources) {
      files.push_back(folder + source[1].str());
    }
    if (sources.empty()) {
      files.push_back(folder + (match[1] == "_model" ? "models/" : "") + match[2].str());
    }
  }
  return files;
}

/// The files that CMake makes tests of, in its order.
std::vector<std::string> files_of_the_build() {
  const std::filesystem::path folder = root / "tests";
  // claims.cmake is included at the place of the claims in the reading order: the first.
  const std::string list =
      text_of(folder / "claims" / "claims.cmake") + text_of(folder / "CMakeLists.txt");
  std::vector<std::string> files = files_of(list, "growstack_test", "");
  const std::vector<std::string> proofs =
      files_of(text_of(folder / "proofs" / "CMakeLists.txt"), "growstack_proof", "proofs/");
  files.insert(files.end(), proofs.begin(), proofs.end());
  const std::vector<std::string> inputs =
      files_of(text_of(folder / "proofs" / "inputs" / "CMakeLists.txt"), "growstack_input",
               "proofs/inputs/");
  files.insert(files.end(), inputs.begin(), inputs.end());
  // What the claims share is no file of tests.
  std::erase_if(files, [](const std::string& file) {
    return file == "claims/claim" || file == "claims/look";
  });
  return files;
}

}  // namespace

TEST_CASE(
    "the index of the tests names every file of tests, each once, in the order of their build") {
  const std::vector<std::string> named = files_in_the_index();
  CHECK(named.size() > 40);
  CHECK(std::set<std::string>(named.begin(), named.end()).size() == named.size());
  CHECK(named == files_of_the_build());
}

TEST_CASE("the index of the tests goes from folder to folder and comes back to none") {
  std::vector<std::string> folders;
  for (const std::string& file : files_in_the_index()) {
    const std::string folder = file.substr(0, file.find('/'));
    if (folders.empty() || folders.back() != folder) {
      folders.push_back(folder);
    }
  }
  CHECK(std::set<std::string>(folders.begin(), folders.end()).size() == folders.size());
}
