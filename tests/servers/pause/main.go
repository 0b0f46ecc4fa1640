// What the smallest containers of a cluster under test run, without a library or a shell: nothing
// for ever (pause), waiting until a name resolves (await-name NAME), or making a folder
// (mkdir -p FOLDER).
package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	switch program := filepath.Base(os.Args[0]); program {
	case "await-name":
		for {
			if found, err := net.LookupHost(os.Args[1]); err == nil && len(found) > 0 {
				return
			}
			time.Sleep(500 * time.Millisecond)
		}
	case "mkdir":
		if err := os.MkdirAll(os.Args[len(os.Args)-1], 0o770); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGINT, syscall.SIGTERM)
		<-asked
	}
}
