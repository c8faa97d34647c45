{
  # Builds row-codes.c with Node-API, so one build works with every version of Node.js. The headers of OpenSSL come with those
  # of Node.js, which exports the functions to add-ons.
  "targets": [
    {
      "target_name": "row_codes",
      "sources": ["row-codes.c"],
      "cflags": ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-fstack-protector-strong", "-fvisibility=hidden"],
      "ldflags": ["-Wl,-z,relro,-z,now"]
    }
  ]
}
