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

TEST_CASE(
    "the index of the tests names every file of tests, each once, in the order of their build") {
  const std::string index = text_of(root / "tests" / "README.md");
  std::vector<std::string> named;
  for (const std::smatch& match : matches_of(index, std::regex(R"(\]\(([a-z_/]+)\.cpp\))"))) {
    named.push_back(match[1].str());
  }
  CHECK(std::set<std::string>(named.begin(), named.end()).size() == named.size());

  std::vector<std::string> built;
  const std::string list = text_of(root / "tests" / "CMakeLists.txt");
  for (const std::smatch& match :
       matches_of(list, std::regex(R"(\n\s*growstack_test\(([a-z_/]+)([^)]*))"))) {
    const std::string arguments = match[2].str();
    const std::vector<std::smatch> sources =
        matches_of(arguments, std::regex(R"(([a-z_/]+)\.cpp)"));
    for (const std::smatch& source : sources) {
      built.push_back(source[1].str());
    }
    if (sources.empty()) {
      built.push_back(match[1].str());
    }
  }
  std::erase_if(named, [](const std::string& each) {
    return each.starts_with("claims/") || each.starts_with("support/");
  });
  CHECK(named == built);
}
