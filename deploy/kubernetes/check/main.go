// Check builds overlays of deploy/kubernetes as `kubectl kustomize` does and reads what comes out
// as the API server would: every field must exist and have its type. Then it looks for what no
// schema can know, in rules.go. Each argument is the directory of an overlay.
package main

import (
	"fmt"
	"os"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

func main() {
	scaler, err := loadScaler(os.Getenv("KEDA"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	failed := false
	for _, overlay := range os.Args[1:] {
		objects, problems := read(overlay, scaler)
		problems = append(problems, look(objects)...)
		for _, problem := range problems {
			fmt.Printf("%s: %s\n", overlay, problem)
		}
		failed = failed || len(problems) > 0
		fmt.Printf("%s: %d objects\n", overlay, len(objects))
	}
	if failed || len(os.Args) < 2 {
		os.Exit(1)
	}
}

// read builds an overlay and decodes each of its objects.
func read(overlay string, scaler *scaler) (objects []any, problems []string) {
	builder := krusty.MakeKustomizer(krusty.MakeDefaultOptions())
	built, err := builder.Run(filesys.MakeFsOnDisk(), overlay)
	if err != nil {
		return nil, []string{err.Error()}
	}
	for _, resource := range built.Resources() {
		text, err := resource.AsYAML()
		if err == nil {
			var object any
			object, err = decode(resource.GetApiVersion(), resource.GetKind(), text, scaler)
			objects = append(objects, object)
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s %s: %v", resource.GetKind(), resource.GetName(), err))
		}
	}
	return objects, problems
}
