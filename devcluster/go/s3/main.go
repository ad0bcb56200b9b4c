// Command s3 is versitygw, a real S3 server, over one folder: what the dev cluster's tests and demo talk to.
//
// It embeds the gateway instead of building its whole command line, whose other storage back ends double the build.
// Credentials come from ROOT_ACCESS_KEY and ROOT_SECRET_KEY, as in versitygw itself. Usage: s3 FOLDER [ADDRESS]
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: s3 FOLDER [ADDRESS]")
	}
	address := ":9000"
	if len(os.Args) > 2 {
		address = os.Args[2]
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := serve(ctx, os.Args[1], address); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, folder, address string) error {
	backend, err := openFolder(folder)
	if err != nil {
		return err
	}
	return embedgw.RunVersityGW(ctx, backend, &embedgw.Config{
		RootUserAccess:    os.Getenv("ROOT_ACCESS_KEY"),
		RootUserSecret:    os.Getenv("ROOT_SECRET_KEY"),
		Region:            "us-east-1",
		Ports:             []string{address},
		MaxConnections:    4096,
		MaxRequests:       1024,
		MultipartMaxParts: 10000,
		KeepAlive:         true,
		Quiet:             true,
		HealthPath:        "/healthz",
	})
}

// openFolder keeps objects' metadata in extended attributes where the file system has them, else in a folder beside.
func openFolder(folder string) (*posix.Posix, error) {
	objects, beside := filepath.Join(folder, "objects"), filepath.Join(folder, "metadata")
	if err := os.MkdirAll(objects, 0o755); err != nil {
		return nil, err
	}
	// The largest copy in one request: S3's own limit.
	options := posix.PosixOpts{Concurrency: 1000, CopyObjectThreshold: 5 << 30}
	if err := syscall.Setxattr(objects, "user.dino.probe", []byte("1"), 0); err == nil {
		return posix.New(objects, meta.XattrMeta{}, options)
	}
	if err := os.MkdirAll(beside, 0o755); err != nil {
		return nil, err
	}
	sidecar, err := meta.NewSideCar(beside)
	if err != nil {
		return nil, err
	}
	options.SideCarDir = beside
	return posix.New(objects, sidecar, options)
}
