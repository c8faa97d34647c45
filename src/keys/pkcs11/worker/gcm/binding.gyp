{
  # Builds token-gcm.c with Node-API, so one build works with every version of Node.js. The headers of PKCS #11 come with
  # pkcs11js.
  "targets": [
    {
      "target_name": "token_gcm",
      "sources": ["token-gcm.c"],
      "include_dirs": ["<!(node -p \"require('node:path').join(require('node:path').dirname(require.resolve('pkcs11js')), 'includes')\")"],
      "cflags": ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-fstack-protector-strong", "-fvisibility=hidden"],
      "libraries": ["-ldl"],
      "ldflags": ["-Wl,-z,relro,-z,now"]
    }
  ]
}
