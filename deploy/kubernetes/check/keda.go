package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	"sigs.k8s.io/yaml"
)

// scaler is what KEDA's own sources say of a ScaledObject and of the metadata of its triggers.
type scaler struct {
	schema   *spec.Schema
	triggers map[string][]parameter
}

// parameter is one entry of a trigger's metadata.
type parameter struct {
	Name     string `json:"name"`
	Optional bool   `json:"optional"`
	Default  string `json:"default"`
}

// scaledObject is the part of a ScaledObject that is looked at further.
type scaledObject struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		ScaleTargetRef struct {
			Name string `json:"name"`
		} `json:"scaleTargetRef"`
		MaxReplicaCount int `json:"maxReplicaCount"`
		Triggers        []struct {
			Type     string            `json:"type"`
			Metadata map[string]string `json:"metadata"`
		} `json:"triggers"`
	} `json:"spec"`
}

// loadScaler reads the sources of KEDA in dir.
func loadScaler(dir string) (*scaler, error) {
	var definition struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema *spec.Schema `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := load(filepath.Join(dir, "config/crd/bases/keda.sh_scaledobjects.yaml"), &definition); err != nil {
		return nil, err
	}
	var known struct {
		Scalers []struct {
			Type       string      `json:"type"`
			Parameters []parameter `json:"parameters"`
		} `json:"scalers"`
	}
	if err := load(filepath.Join(dir, "schema/generated/scalers-schema.json"), &known); err != nil {
		return nil, err
	}
	if len(definition.Spec.Versions) != 1 || len(known.Scalers) == 0 {
		return nil, fmt.Errorf("%s: not the sources of KEDA that this program knows", dir)
	}
	schema := definition.Spec.Versions[0].Schema.OpenAPIV3Schema
	// The API server fills and checks these two by itself.
	for _, own := range []string{"metadata", "status"} {
		delete(schema.Properties, own)
	}
	schema.Properties["metadata"] = *spec.MapProperty(nil)
	closed(schema)
	triggers := map[string][]parameter{}
	for _, one := range known.Scalers {
		triggers[one.Type] = one.Parameters
	}
	return &scaler{schema, triggers}, nil
}

// closed refuses what a schema does not name, as `kubectl apply` does with strict validation.
func closed(schema *spec.Schema) {
	for name, property := range schema.Properties {
		closed(&property)
		schema.Properties[name] = property
	}
	if schema.Items != nil && schema.Items.Schema != nil {
		closed(schema.Items.Schema)
	}
	open, _ := schema.Extensions.GetBool("x-kubernetes-preserve-unknown-fields")
	if len(schema.Properties) > 0 && schema.AdditionalProperties == nil && !open {
		schema.AdditionalProperties = &spec.SchemaOrBool{Allows: false}
	}
}

// decode checks a ScaledObject against the schema, and its triggers against what they take.
func (s *scaler) decode(text []byte) (any, error) {
	var all any
	if err := yaml.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	result := validate.NewSchemaValidator(s.schema, nil, "", strfmt.Default).Validate(all)
	problems := result.Errors
	object := &scaledObject{}
	if err := yaml.Unmarshal(text, object); err != nil {
		return nil, err
	}
	for _, trigger := range object.Spec.Triggers {
		problems = append(problems, s.trigger(trigger.Type, trigger.Metadata)...)
	}
	return object, errors.Join(problems...)
}

// trigger says what is missing from a trigger's metadata, and what KEDA would not read.
func (s *scaler) trigger(kind string, metadata map[string]string) (problems []error) {
	parameters, known := s.triggers[kind]
	if !known {
		return []error{fmt.Errorf("KEDA has no trigger %q", kind)}
	}
	names := map[string]bool{}
	for _, parameter := range parameters {
		names[parameter.Name] = true
		_, given := metadata[parameter.Name]
		if !given && !parameter.Optional && parameter.Default == "" {
			problems = append(problems, fmt.Errorf("trigger %s lacks %s", kind, parameter.Name))
		}
	}
	for name := range metadata {
		if !names[name] {
			problems = append(problems, fmt.Errorf("trigger %s knows no %s", kind, name))
		}
	}
	return problems
}

func load(file string, into any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("KEDA must name a directory with its sources: %w", err)
	}
	return yaml.Unmarshal(text, into)
}
